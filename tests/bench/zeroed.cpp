// SPDX-License-Identifier: Apache-2.0
//
// Blocks of calloc from 16 bytes to 1 MiB, of which the program writes a part before it frees them: what was written must be zero again.
#include <vector>

#include "workload.hpp"

int main(int argc, char** argv) {
    const std::size_t rounds = workload::scaled(workload::scale_of(argc, argv), 3'000'000);
    workload::Random random(71);
    std::vector<workload::Block> live(3000);
    std::uint64_t checksum = 0;
    for (std::size_t round = 0; round < rounds; ++round) {
        auto& block = live[random.below(live.size())];
        checksum += workload::release(block);
        const std::size_t kind = random.below(1000);
        const std::size_t size = kind < 900   ? random.between(16, 512)
                                 : kind < 998 ? random.between(512, 16384)
                                              : random.between(16384, 1 << 20);
        block = {static_cast<unsigned char*>(std::calloc(1, size)), size};
        if (block.data == nullptr) workload::fail("out of memory");
        checksum += block.data[0] + block.data[size / 2] + block.data[size - 1];
        block.data[random.below(size)] = block.data[size - 1] = 1;
        workload::escape(block.data);
    }
    for (auto& block : live) checksum += workload::release(block);
    return workload::finish(checksum);
}
