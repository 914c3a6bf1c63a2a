// SPDX-License-Identifier: Apache-2.0
//
// A fragmented heap that has gone quiet: of 384 MiB in blocks of 256 bytes, three quarters are freed in runs of 64 KiB, then
// there is light traffic for 3 s. Prints which fraction of the full heap's memory the process holds before and after the
// traffic; a quarter is still in use.
#include <vector>

#include "workload.hpp"

int main(int argc, char** argv) {
    const double scale = workload::scale_of(argc, argv);
    constexpr std::size_t block_size = 256;
    constexpr std::size_t run_length = 64 * 1024 / block_size;
    const std::size_t runs = workload::scaled(scale, std::size_t{384} * 16);

    std::vector<workload::Block> blocks(runs * run_length);
    const std::size_t at_start = workload::resident_bytes();
    for (auto& block : blocks) {
        block = workload::take(block_size, 71);
        std::memset(block.data, 71, block_size);
    }
    const std::size_t at_peak = workload::resident_bytes();

    std::vector<unsigned char> kept(runs, 0);
    for (std::size_t run = 0; run < runs / 4; ++run) kept[run] = 1;
    workload::Random random(72);
    for (std::size_t run = runs; run > 1; --run) std::swap(kept[run - 1], kept[random.below(run)]);

    std::uint64_t checksum = 0;
    for (std::size_t index = 0; index < blocks.size(); ++index) {
        if (kept[index / run_length] == 0) checksum += workload::release(blocks[index]);
    }
    const std::size_t freed = workload::resident_bytes();
    checksum += workload::light_traffic(scale, 73);
    const std::size_t after = workload::resident_bytes();

    const auto full = static_cast<double>(at_peak - at_start);
    workload::print_metric("held_before", (static_cast<double>(freed) - static_cast<double>(at_start)) / full);
    workload::print_metric("held_after", (static_cast<double>(after) - static_cast<double>(at_start)) / full);
    for (auto& block : blocks) checksum += workload::release(block);
    return workload::finish(checksum);
}
