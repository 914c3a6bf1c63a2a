// SPDX-License-Identifier: Apache-2.0
//
// The shortest path there is: a small block is allocated and freed at once, again and again. A few other blocks of each size
// stay live meanwhile, as in real programs: what becomes of a size whose very last block is freed is not measured here.
#include "workload.hpp"

int main(int argc, char** argv) {
    const std::size_t rounds = workload::scaled(workload::scale_of(argc, argv), 5'000'000);

    constexpr std::array<std::size_t, 12> sizes{16, 24, 32, 48, 64, 96, 128, 200, 256, 384, 512, 1000};
    std::uint64_t checksum = 0;
    std::array<workload::Block, 4 * sizes.size()> live{};
    for (std::size_t index = 0; index < live.size(); ++index) live[index] = workload::take(sizes[index / 4], index);
    for (std::size_t round = 0; round < rounds; ++round) {
        for (const std::size_t size : sizes) {
            auto block = workload::take(size, round);
            checksum += workload::release(block);
        }
    }
    for (auto& block : live) checksum += workload::release(block);
    return workload::finish(checksum);
}
