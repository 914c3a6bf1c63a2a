// SPDX-License-Identifier: Apache-2.0
// 64 bits of a bitmap that one thread writes and others look at, or that all threads set bits of.
//
// On 64-bit machines it is an atomic word. On 32-bit machines it is two, each read and written with one instruction, where 64 bits at once
// would have to go through the floating-point unit. Nobody needs both halves from the same moment: a bit means one block, whoever sets or
// takes it knows only of its own half, and what counts all bits of a bitmap reads several words one after the other anyway. In the wake-up
// handshake (ThreadCache::retire) each half is as sequentially consistent as the word would be.
#pragma once

#include "platform/atomics.hpp"
#include "platform/bits.hpp"

#include <type_traits>

namespace mpmm {

/// Two halves with the interface of an Atomic<std::uint64_t>.
class HalvedWord {
  public:
    using Part = std::uint32_t;

    constexpr HalvedWord() = default;
    constexpr explicit HalvedWord(std::uint64_t bits) : halves_{low(bits), high(bits)} {}
    HalvedWord(const HalvedWord&) = delete;
    HalvedWord& operator=(const HalvedWord&) = delete;

    std::uint64_t load(std::memory_order order = seq_cst) const { return whole(halves_[0].load(order), halves_[1].load(order)); }
    void store(std::uint64_t bits, std::memory_order order = seq_cst) {
        halves_[0].store(low(bits), order);
        halves_[1].store(high(bits), order);
    }
    std::uint64_t exchange(std::uint64_t bits, std::memory_order order = seq_cst) {
        const Part before = halves_[0].exchange(low(bits), order);
        return whole(before, halves_[1].exchange(high(bits), order));
    }
    /// Both halves, whatever there is to set: GCC 12 with -O1 sets nothing at all when that is asked first.
    std::uint64_t fetch_or(std::uint64_t bits, std::memory_order order = seq_cst) {
        const Part before = halves_[0].fetch_or(low(bits), order);
        return whole(before, halves_[1].fetch_or(high(bits), order));
    }
    std::uint64_t fetch_and(std::uint64_t bits, std::memory_order order = seq_cst) {
        const Part before = halves_[0].fetch_and(low(bits), order);
        return whole(before, halves_[1].fetch_and(high(bits), order));
    }

    Atomic<Part>& part(std::size_t index) { return halves_[index / 32 % 2]; }
    /// Whether all bits are ones, of which `bits` is the part that has just been written. relaxed: the writer asks.
    bool is_full(Part bits) const { return bits == ~Part{0} && load(relaxed) == all_ones; }
    /// Takes the lowest one out, by the only writer; false when there is none.
    [[gnu::always_inline]] bool take_lowest(std::size_t& bit) {
        Part bits = halves_[0].load(relaxed);
        unsigned half = 0;
        if (bits == 0) {
            bits = halves_[1].load(relaxed);
            if (bits == 0) [[unlikely]]
                return false;
            half = 1;
        }
        halves_[half].store(bits & (bits - 1), relaxed);
        bit = half * 32 + static_cast<unsigned>(std::countr_zero(bits));
        return true;
    }

  private:
    static constexpr Part low(std::uint64_t bits) { return static_cast<Part>(bits); }
    static constexpr Part high(std::uint64_t bits) { return static_cast<Part>(bits >> 32); }
    static std::uint64_t whole(Part low, Part high) { return std::uint64_t{high} << 32 | low; }

    Atomic<Part> halves_[2]{};
};

using BitmapWord = std::conditional_t<sizeof(void*) == 4, HalvedWord, Atomic<std::uint64_t>>;

/// What is read and written with one instruction around bit `index`.
[[gnu::always_inline]] inline Atomic<std::uint64_t>& part_of(Atomic<std::uint64_t>& word, std::size_t) { return word; }
[[gnu::always_inline]] inline Atomic<std::uint32_t>& part_of(HalvedWord& word, std::size_t index) { return word.part(index); }
/// Whether all bits are ones, of which `bits` is the part that has just been written.
[[gnu::always_inline]] inline bool is_full(const Atomic<std::uint64_t>&, std::uint64_t bits) { return bits == all_ones; }
[[gnu::always_inline]] inline bool is_full(const HalvedWord& word, std::uint32_t bits) { return word.is_full(bits); }
/// Takes the lowest one out, by the only writer; false when there is none.
[[gnu::always_inline]] inline bool take_lowest(Atomic<std::uint64_t>& word, std::size_t& bit) {
    const std::uint64_t bits = word.load(relaxed);
    if (bits == 0) [[unlikely]]
        return false;
    word.store(bits & (bits - 1), relaxed);
    bit = static_cast<std::size_t>(lowest_bit(bits));
    return true;
}
[[gnu::always_inline]] inline bool take_lowest(HalvedWord& word, std::size_t& bit) { return word.take_lowest(bit); }

}  // namespace mpmm
