// SPDX-License-Identifier: Apache-2.0
//
// A peak that passes: 550 MiB of mixed small blocks are allocated and freed in another order, then there is light traffic for
// 3 s. Prints the fraction of the freed memory that the process still holds, before and after the traffic.
#include <vector>

#include "workload.hpp"

int main(int argc, char** argv) {
    const double scale = workload::scale_of(argc, argv);
    const std::size_t peak_bytes = workload::scaled(scale, std::size_t{550} << 20);

    workload::Random random(81);
    std::vector<workload::Block> blocks(peak_bytes / 256 + 1);
    const std::size_t at_start = workload::resident_bytes();
    std::size_t used = 0;
    for (std::size_t held = 0; held < peak_bytes && used < blocks.size(); held += blocks[used++].size) {
        blocks[used] = workload::take(random.between(16, 1024), random.next());
        workload::touch(blocks[used], held);
    }
    const std::size_t at_peak = workload::resident_bytes();

    std::uint64_t checksum = 0;
    for (std::size_t left = used; left != 0; --left) {
        std::swap(blocks[left - 1], blocks[random.below(left)]);
        checksum += workload::release(blocks[left - 1]);
    }
    const std::size_t freed = workload::resident_bytes();
    checksum += workload::light_traffic(scale, 82);
    const std::size_t after = workload::resident_bytes();

    const auto full = static_cast<double>(at_peak - at_start);
    workload::print_metric("held_before", (static_cast<double>(freed) - static_cast<double>(at_start)) / full);
    workload::print_metric("held_after", (static_cast<double>(after) - static_cast<double>(at_start)) / full);
    return workload::finish(checksum);
}
