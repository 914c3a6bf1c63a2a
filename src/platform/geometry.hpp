// SPDX-License-Identifier: Apache-2.0
// The sizes of the machine as a type, so that every layer can be tested with cache lines and pages this machine does not have.
//
// A chunk is what one cache line of bits can describe when every bit stands for a page: page bytes x bits per line, aligned to itself.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace mpmm {

/// Bits of an address that can differ between addresses a system gives to a process that does not ask for more.
inline constexpr unsigned address_bits = sizeof(void*) == 4 ? 32 : 48;

/// Page, cache line and pointer size in bytes, all powers of two.
template <std::size_t PageBytes, std::size_t LineBytes, std::size_t PointerBytes = sizeof(void*)>
struct Geometry {
    static_assert(std::has_single_bit(PageBytes) && std::has_single_bit(LineBytes));
    static_assert(LineBytes >= 16 && LineBytes <= 256 && PageBytes >= 4096);

    static constexpr std::size_t page = PageBytes;
    static constexpr std::size_t line = LineBytes;
    static constexpr std::size_t pointer = PointerBytes;
    static constexpr unsigned page_shift = std::countr_zero(PageBytes);
    /// Bits in one cache line: the most blocks a block allocator can have.
    static constexpr std::size_t map_bits = LineBytes * 8;
    static constexpr std::size_t word_bits = 64;
    static constexpr std::size_t map_words = map_bits / word_bits;
    static constexpr std::size_t chunk = PageBytes * map_bits;
    static constexpr unsigned chunk_shift = std::countr_zero(chunk);
};

}  // namespace mpmm
