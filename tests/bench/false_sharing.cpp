// SPDX-License-Identifier: Apache-2.0
//
// Small blocks that threads write often. With "passive" as the second argument the main thread allocates one for each thread, side by side,
// and the threads free those first: an allocator that gives them to whoever frees lets two threads write one cache line for good. Otherwise
// each thread allocates its own: two of them must not come from one line.
#include <vector>

#include "workload.hpp"

namespace {

constexpr std::size_t thread_count = 4, size = 8, writes = 2000;

std::uint64_t write_often(workload::Block& block, std::uint64_t value) {
    auto* const counter = reinterpret_cast<volatile std::uint64_t*>(block.data);
    *counter = value;
    for (std::size_t count = 0; count < writes; ++count) *counter = *counter + count;
    return *counter + workload::release(block);
}

std::uint64_t work(workload::Block given, std::size_t rounds) {
    std::uint64_t checksum = given.data == nullptr ? 0 : write_often(given, 1);
    for (std::size_t round = 0; round < rounds; ++round) {
        workload::Block block = workload::take(size, round);
        checksum += write_often(block, round);
    }
    return checksum;
}

}  // namespace

int main(int argc, char** argv) {
    const std::size_t rounds = workload::scaled(workload::scale_of(argc, argv), 300'000);
    const bool passive = argc > 2 && std::strcmp(argv[2], "passive") == 0;
    std::array<workload::Block, thread_count> given{};
    if (passive) {
        for (auto& block : given) block = workload::take(size, 1);
    }
    std::array<std::uint64_t, thread_count> sums{};
    std::vector<std::thread> threads;
    for (std::size_t index = 0; index < thread_count; ++index)
        threads.emplace_back([&, index] { sums[index] = work(given[index], rounds); });
    for (auto& thread : threads) thread.join();
    std::uint64_t checksum = 0;
    for (const std::uint64_t sum : sums) checksum += sum;
    return workload::finish(checksum);
}
