// SPDX-License-Identifier: Apache-2.0
//
// Almost nothing: what an allocator costs a program that allocates a hundred blocks and ends.
#include "workload.hpp"

int main() {
    std::array<workload::Block, 100> blocks{};
    std::uint64_t checksum = 0;
    for (std::size_t index = 0; index < blocks.size(); ++index) blocks[index] = workload::take(16 + 8 * index, index);
    workload::print_metric("rss_mib", static_cast<double>(workload::resident_bytes()) / (1 << 20));
    for (auto& block : blocks) checksum += workload::release(block);
    return workload::finish(checksum);
}
