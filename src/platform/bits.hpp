// SPDX-License-Identifier: Apache-2.0
// Bit and alignment arithmetic. All functions are pure, constexpr and safe from any thread.
#pragma once

#include "platform/compiler.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>

namespace mpmm {

inline constexpr std::uint64_t all_ones = ~std::uint64_t{0};

/// `value` rounded up to a multiple of `alignment` (a power of two); wraps on overflow.
constexpr std::uintptr_t align_up(std::uintptr_t value, std::uintptr_t alignment) { return (value + alignment - 1) & ~(alignment - 1); }
constexpr std::uintptr_t align_down(std::uintptr_t value, std::uintptr_t alignment) { return value & ~(alignment - 1); }
constexpr bool is_aligned(std::uintptr_t value, std::uintptr_t alignment) { return (value & (alignment - 1)) == 0; }

constexpr unsigned floor_log2(std::uint64_t value) { return 63u - static_cast<unsigned>(std::countl_zero(value)); }

/// Sets bit `index` % 64 of `word` and returns what it was. One instruction where compilers would make four.
[[gnu::always_inline]] inline bool test_and_set(std::uint64_t& word, std::uint64_t index) {
#if defined(__x86_64__) && !defined(MPMM_MSVC)
    bool was = false;
    asm("bts %2, %0" : "+r"(word), "=@ccc"(was) : "r"(index));
    return was;
#else
    const std::uint64_t bit = std::uint64_t{1} << (index % 64), before = word;
    word |= bit;
    return (before & bit) != 0;
#endif
}

/// The same for a word of 32 bits.
[[gnu::always_inline]] inline bool test_and_set(std::uint32_t& word, std::size_t index) {
#if defined(__x86_64__) || defined(__i386__)
    bool was = false;
    asm("btsl %2, %0" : "+r"(word), "=@ccc"(was) : "r"(static_cast<std::uint32_t>(index)));
    return was;
#else
    const std::uint32_t bit = std::uint32_t{1} << (index % 32), before = word;
    word |= bit;
    return (before & bit) != 0;
#endif
}

/// The number of the lowest one of a word that is not 0, as 64 bits without a conversion.
[[gnu::always_inline]] inline std::uint64_t lowest_bit(std::uint64_t word) {
#if defined(__x86_64__) && !defined(MPMM_MSVC)
    std::uint64_t bit = 0;
    asm("rep bsf %1, %0" : "=r"(bit) : "r"(word) : "cc");  // tzcnt where there is one; the same for words that are not 0
    return bit;
#elif defined(__i386__)
    // The compiler would call a function.
    const auto low = static_cast<std::uint32_t>(word), high = static_cast<std::uint32_t>(word >> 32);
    return low != 0 ? static_cast<unsigned>(std::countr_zero(low)) : 32 + static_cast<unsigned>(std::countr_zero(high));
#else
    return static_cast<std::uint64_t>(std::countr_zero(word));
#endif
}

/// The number of ones. Without a machine instruction for it the compiler would call a function that looks it up in a table.
constexpr unsigned count_ones(std::uint64_t word) {
#if defined(__POPCNT__) || defined(__aarch64__)
    return static_cast<unsigned>(std::popcount(word));
#else
    word -= word >> 1 & 0x5555555555555555u;
    word = (word & 0x3333333333333333u) + (word >> 2 & 0x3333333333333333u);
    word = (word + (word >> 4)) & 0x0F0F0F0F0F0F0F0Fu;
    return static_cast<unsigned>(word * 0x0101010101010101u >> 56);
#endif
}

/// `value`, in a way the compiler cannot see through: keeps it from computing parts of it again from where it came.
template <class T>
[[gnu::always_inline]] inline T opaque(T value) {
#ifndef MPMM_MSVC
    asm("" : "+r"(value));
#endif
    return value;
}

/// A mask of bits [first, first + count), count <= 64.
constexpr std::uint64_t bit_range(unsigned first, unsigned count) {
    if (count == 0) return 0;
    return (all_ones >> (64 - count)) << first;
}

/// Calls visit(first, count) for every run of ones, lowest first.
template <class Visit>
constexpr void for_each_run(std::uint64_t mask, Visit visit) {
    while (mask != 0) {
        const auto first = static_cast<unsigned>(std::countr_zero(mask));
        const auto count = static_cast<unsigned>(std::countr_one(mask >> first));
        visit(first, count);
        mask &= ~bit_range(first, count);
    }
}

/// Calls visit(bit) for every one, lowest first.
template <class Visit>
constexpr void for_each_bit(std::uint64_t mask, Visit visit) {
    for (; mask != 0; mask &= mask - 1) visit(static_cast<unsigned>(std::countr_zero(mask)));
}

}  // namespace mpmm
