// SPDX-License-Identifier: Apache-2.0
//
// Thousands of short-lived threads, two at a time: each allocates some blocks, frees most of them, and leaves the rest to the
// main thread, which frees them after the thread has ended.
#include <array>
#include <vector>

#include "workload.hpp"

namespace {

constexpr std::size_t block_count = 300;

struct Worker {
    std::array<workload::Block, block_count> blocks{};
    std::uint64_t checksum = 0;

    void run(std::uint64_t seed) {
        workload::Random random(seed);
        for (auto& block : blocks) block = workload::take(random.between(16, 2000), random.next());
        for (std::size_t index = 0; index < block_count; ++index) {
            if (index % 8 != 0) checksum += workload::release(blocks[index]);
        }
    }
};

}  // namespace

int main(int argc, char** argv) {
    const std::size_t rounds = workload::scaled(workload::scale_of(argc, argv), 6000);

    std::array<Worker, 2> workers;
    std::uint64_t checksum = 0;
    for (std::size_t round = 0; round < rounds; ++round) {
        std::array<std::thread, 2> threads;
        for (std::size_t index = 0; index < threads.size(); ++index) {
            threads[index] = std::thread([&worker = workers[index], seed = 2 * round + index] { worker.run(seed); });
        }
        for (auto& thread : threads) thread.join();
        for (auto& worker : workers) {
            for (auto& block : worker.blocks) checksum += workload::release(block);
        }
    }
    for (const auto& worker : workers) checksum += worker.checksum;
    return workload::finish(checksum);
}
