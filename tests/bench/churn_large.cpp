// SPDX-License-Identifier: Apache-2.0
//
// Blocks of 5 to 25 MiB come and go, eight at a time; every page of each is written.
#include <array>

#include "workload.hpp"

int main(int argc, char** argv) {
    constexpr std::size_t mebibyte = std::size_t{1} << 20;
    const std::size_t rounds = workload::scaled(workload::scale_of(argc, argv), 400);

    workload::Random random(41);
    std::array<workload::Block, 8> live{};
    std::uint64_t checksum = 0;
    for (std::size_t round = 0; round < rounds; ++round) {
        auto& block = live[random.below(live.size())];
        checksum += workload::release(block);
        block = workload::take(random.between(5 * mebibyte, 25 * mebibyte), round);
        workload::touch(block, round);
    }
    for (auto& block : live) checksum += workload::release(block);
    return workload::finish(checksum);
}
