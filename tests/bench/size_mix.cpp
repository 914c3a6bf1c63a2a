// SPDX-License-Identifier: Apache-2.0
//
// Groups of blocks of one size after the other, small sizes more often: half of each group is freed at once, in the order of allocation or
// against it, the rest waits in a pool that is emptied from time to time. With more than one thread (the second argument) a part of what
// waits is freed by the next thread.
#include <vector>

#include "workload.hpp"

namespace {

constexpr std::size_t largest = 1000, pool_limit = 60'000, group_bytes = 20'000;

using Blocks = std::vector<workload::Block>;

std::uint64_t release_all(Blocks& blocks) {
    std::uint64_t checksum = 0;
    for (auto& block : blocks) checksum += workload::release(block);
    blocks.clear();
    return checksum;
}

/// Returns the checksum, and in `rest` what the next thread is to free.
std::uint64_t work(std::uint64_t seed, std::size_t rounds, Blocks& rest, Blocks& foreign) {
    workload::Random random(seed);
    Blocks group, pool;
    std::uint64_t checksum = 0;
    for (; rounds != 0; --rounds) {
        for (std::size_t size = 1; size <= largest; size += 1 + size / 16) {
            const std::size_t count = 1 + group_bytes / (size + 200);
            for (std::size_t index = 0; index < count; ++index) group.push_back(workload::take(size, random.next()));
            const bool reversed = random.below(2) == 0;
            for (std::size_t index = 0; index < count; ++index) {
                auto& block = group[reversed ? count - 1 - index : index];
                if (index % 2 == 0) {
                    checksum += workload::release(block);
                } else {
                    pool.push_back(block);
                }
            }
            group.clear();
            if (pool.size() > pool_limit) {
                // The oldest half.
                const auto middle = pool.begin() + pool_limit / 2;
                for (auto block = pool.begin(); block != middle; ++block) checksum += workload::release(*block);
                pool.erase(pool.begin(), middle);
            }
        }
        checksum += release_all(foreign);
    }
    rest = std::move(pool);
    return checksum;
}

}  // namespace

int main(int argc, char** argv) {
    const double scale = workload::scale_of(argc, argv);
    const std::size_t count = argc > 2 ? static_cast<std::size_t>(std::atoi(argv[2])) : 1;
    constexpr std::size_t generations = 10;

    std::vector<Blocks> rests(count), foreign(count);
    std::vector<std::uint64_t> sums(count);
    std::uint64_t checksum = 0;
    for (std::size_t generation = 0; generation < generations; ++generation) {
        std::vector<std::thread> threads;
        for (std::size_t index = 0; index < count; ++index) {
            threads.emplace_back(
                [&, index] { sums[index] = work(100 * generation + index, workload::scaled(scale, 300), rests[index], foreign[index]); });
        }
        for (auto& thread : threads) thread.join();
        for (std::size_t index = 0; index < count; ++index) {
            checksum += sums[index];
            foreign[(index + 1) % count] = std::move(rests[index]);
        }
    }
    for (auto& blocks : foreign) checksum += release_all(blocks);
    return workload::finish(checksum);
}
