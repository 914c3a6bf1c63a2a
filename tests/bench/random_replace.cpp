// SPDX-License-Identifier: Apache-2.0
//
// A million live blocks of 16 to 527 bytes; random ones are replaced by blocks of other random sizes.
#include <vector>

#include "workload.hpp"

int main(int argc, char** argv) {
    const double scale = workload::scale_of(argc, argv);
    const std::size_t slots = workload::scaled(scale, 1'000'000);
    const std::size_t replacements = workload::scaled(scale, 4'000'000);

    workload::Random random(1);
    std::vector<workload::Block> live(slots);
    std::uint64_t checksum = 0;
    for (auto& block : live) block = workload::take(random.between(16, 527), random.next());
    for (std::size_t count = 0; count < replacements; ++count) {
        auto& block = live[random.below(slots)];
        checksum += workload::release(block);
        block = workload::take(random.between(16, 527), random.next());
    }
    for (auto& block : live) checksum += workload::release(block);
    return workload::finish(checksum);
}
