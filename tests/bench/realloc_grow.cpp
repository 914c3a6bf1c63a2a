// SPDX-License-Identifier: Apache-2.0
//
// Many arrays grow side by side with realloc, each time by half their size; then one huge array grows by a quarter at a time,
// up to 400 MiB.
#include <vector>

#include "workload.hpp"

namespace {

void grow(workload::Block& block, std::size_t size, std::uint64_t stamp) {
    auto* data = static_cast<unsigned char*>(std::realloc(block.data, size));
    if (data == nullptr) workload::fail("out of memory");
    std::memset(data + block.size, static_cast<int>(stamp & 0xff), size - block.size);
    workload::escape(data);
    block = {data, size};
}

}  // namespace

int main(int argc, char** argv) {
    const double scale = workload::scale_of(argc, argv);
    const std::size_t rounds = workload::scaled(scale, 8);
    const std::size_t largest = workload::scaled(scale, std::size_t{400} << 20);
    constexpr std::size_t array_count = 2000;
    constexpr std::size_t array_bytes = 64 * 1024;

    workload::Random random(61);
    std::uint64_t checksum = 0;
    for (std::size_t round = 0; round < rounds; ++round) {
        std::vector<workload::Block> arrays(array_count);
        for (std::size_t growing = array_count; growing != 0;) {
            auto& array = arrays[random.below(growing)];
            grow(array, array.size < 16 ? 16 : array.size + array.size / 2, round);
            if (array.size >= array_bytes) std::swap(array, arrays[--growing]);
        }
        for (auto& array : arrays) checksum += workload::release(array);
    }

    workload::Block huge;
    while (huge.size < largest) grow(huge, huge.size < 4096 ? 4096 : huge.size + huge.size / 4, 7);
    checksum += workload::release(huge);
    return workload::finish(checksum);
}
