// SPDX-License-Identifier: Apache-2.0
//
// Batches of 25, 100, 400 and 1600 blocks of one size, freed in the order of allocation, for sizes from 16 bytes to 4 KiB; in as many threads
// at once as the second argument says.
#include <vector>

#include "workload.hpp"

namespace {

std::uint64_t work(std::size_t operations) {
    std::vector<workload::Block> blocks(1600);
    std::uint64_t checksum = 0;
    for (const std::size_t size : {16, 32, 64, 128, 256, 512, 1024, 2048, 4096}) {
        for (const std::size_t batch : {25, 100, 400, 1600}) {
            for (std::size_t done = 0; done < operations; done += batch) {
                for (std::size_t index = 0; index < batch; ++index) blocks[index] = workload::take(size, index);
                for (std::size_t index = 0; index < batch; ++index) checksum += workload::release(blocks[index]);
            }
        }
    }
    return checksum;
}

}  // namespace

int main(int argc, char** argv) {
    const std::size_t operations = workload::scaled(workload::scale_of(argc, argv), 500'000);
    const std::size_t count = argc > 2 ? static_cast<std::size_t>(std::atoi(argv[2])) : 1;
    std::vector<std::uint64_t> sums(count);
    std::vector<std::thread> threads;
    for (std::size_t index = 0; index < count; ++index) threads.emplace_back([&, index] { sums[index] = work(operations / count); });
    for (auto& thread : threads) thread.join();
    std::uint64_t checksum = 0;
    for (const std::uint64_t sum : sums) checksum += sum;
    return workload::finish(checksum);
}
