// SPDX-License-Identifier: Apache-2.0
#include "harness/sizes.hpp"

#include "heap/build_heap.hpp"
#include "mpmm/mpmm.h"

#include <algorithm>
#include <array>
#include <bit>
#include <vector>

namespace mpmm::fuzz {
namespace {

std::vector<std::size_t> make_table() {
    std::vector<std::size_t> table{0};
    const std::size_t page = mpmm_backend_page_size(), chunk = mpmm_backend_chunk_size();
    // The classes, as the heap itself names them: to the user verify rounds nothing.
    for (std::size_t size = 1; size <= chunk / 2; ++size) {
        size = BuildHeap::round_size(size);
        if (size <= table.back()) break;
        table.push_back(size);
    }
    for (const std::size_t large : {chunk / 2 + page, chunk - page, chunk, chunk + page, 3 * chunk, 3 * chunk - 20 * page, 6 * chunk,
                                    31 * chunk, 32 * chunk, 33 * chunk - page})
        table.push_back(large);
    for (const std::size_t never : {std::size_t{PTRDIFF_MAX}, std::size_t{PTRDIFF_MAX} - 2 * chunk, ~std::size_t{0}})
        table.push_back(never);
    return table;
}

}  // namespace

std::size_t request_size(std::uint16_t selector) {
    static const std::vector<std::size_t> table = make_table();
    const std::size_t index = (selector >> 2 & 127u) % table.size(), size = table[index];
    switch (selector & nudge_mask) {
        case 0: return size;
        case 1: return size == 0 ? 0 : size - 1;
        case 2: return size + 1 == 0 ? size : size + 1;
        default: break;
    }
    const std::size_t below = index == 0 ? 0 : table[index - 1];
    return size - (size - below) / 128 * (selector >> 9) - (size - below) % 128 * (selector >> 9) / 128;
}

bool impossible(std::size_t size) { return size > SIZE_MAX / 2 >> (sizeof(void*) == 8 ? 16 : 1); }

std::size_t request_alignment(std::uint16_t selector) {
    const unsigned largest = static_cast<unsigned>(std::countr_zero(mpmm_backend_chunk_size())) + 2;
    return std::size_t{1} << selector % (largest + 1);
}

}  // namespace mpmm::fuzz
