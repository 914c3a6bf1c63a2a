// SPDX-License-Identifier: Apache-2.0
//
// A server: two worker threads replace random blocks of their own tables. After a while each worker ends and a new thread takes
// a table over, so that blocks are freed by other threads than allocated them, long after those have ended.
#include <algorithm>
#include <array>
#include <vector>

#include "workload.hpp"

namespace {

constexpr std::size_t worker_count = 2;
constexpr std::size_t table_size = 5000;

struct Table {
    std::vector<workload::Block> blocks;
    workload::Random random;
    std::uint64_t checksum = 0;

    explicit Table(std::uint64_t seed) : blocks(table_size), random(seed) {}

    void replace(std::size_t count) {
        for (; count != 0; --count) {
            auto& block = blocks[random.below(table_size)];
            checksum += workload::release(block);
            block = workload::take(random.between(8, 1000), random.next());
        }
    }
};

}  // namespace

int main(int argc, char** argv) {
    const double scale = workload::scale_of(argc, argv);
    const std::size_t generations = workload::scaled(scale, 300);
    constexpr std::size_t replacements = 30'000;

    std::array<Table, worker_count> tables{Table(11), Table(12)};
    for (std::size_t generation = 0; generation < generations; ++generation) {
        std::array<std::thread, worker_count> workers;
        for (std::size_t index = 0; index < worker_count; ++index) {
            Table& table = tables[(index + generation) % worker_count];
            workers[index] = std::thread([&table] { table.replace(replacements); });
        }
        for (auto& worker : workers) worker.join();
    }

    std::uint64_t checksum = 0;
    for (auto& table : tables) {
        checksum += table.checksum;
        for (auto& block : table.blocks) checksum += workload::release(block);
    }
    return workload::finish(checksum);
}
