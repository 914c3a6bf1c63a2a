// SPDX-License-Identifier: Apache-2.0
//
// The sizes a program asks for change over its life. Each phase fills 96 MiB with blocks around one size, then frees all but
// one in twenty; those survivors live through the next phase. Memory that stays apart for a size nobody asks for any more
// shows up as peak RSS.
#include <vector>

#include "workload.hpp"

int main(int argc, char** argv) {
    const double scale = workload::scale_of(argc, argv);
    const std::size_t phase_bytes = workload::scaled(scale, std::size_t{96} << 20);
    constexpr std::array<std::size_t, 12> sizes{48, 700, 96, 2500, 160, 9000, 24, 1200, 300, 30000, 64, 4500};

    workload::Random random(51);
    std::vector<workload::Block> survivors;
    std::uint64_t checksum = 0;
    for (const std::size_t size : sizes) {
        std::vector<workload::Block> blocks;
        for (std::size_t held = 0; held < phase_bytes; held += blocks.back().size) {
            blocks.push_back(workload::take(random.between(size - size / 8, size + size / 8), random.next()));
            workload::touch(blocks.back(), held);
        }
        for (auto& block : survivors) checksum += workload::release(block);
        survivors.clear();
        for (auto& block : blocks) {
            if (random.below(20) == 0) {
                survivors.push_back(block);
            } else {
                checksum += workload::release(block);
            }
        }
    }
    for (auto& block : survivors) checksum += workload::release(block);
    return workload::finish(checksum);
}
