// SPDX-License-Identifier: Apache-2.0
// The contents of blocks: every block is filled from its own seed, and checked before it changes or goes. Short blocks are filled whole;
// of longer ones the first and the last bytes, where neighbours and headers would write, and samples between.
#pragma once

#include "harness/failure.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace mpmm::fuzz {

// The harness writes where it may: what it does is not what the sanitizers are to watch, and they would take most of the time.
#if defined(__clang__)
#define MPMM_FUZZ_PLAIN __attribute__((no_sanitize("address", "undefined")))
#else
#define MPMM_FUZZ_PLAIN
#endif

class Signature {
  public:
    static constexpr std::size_t edge = 64;
    static constexpr std::size_t samples = 12;

    MPMM_FUZZ_PLAIN static void fill(std::byte* block, std::size_t size, std::uint64_t seed) {
        const std::uint64_t pattern = pattern_of(seed);
        const std::size_t head = size < 2 * edge ? size : edge, tail = size - head < edge ? head : size - edge;
        for (std::size_t i = 0; i < head; ++i) block[i] = value(pattern, i);
        for (std::size_t i = tail; i < size; ++i) block[i] = value(pattern, i);
        for (std::size_t i = step(size); i < tail; i += step(size)) block[i] = value(pattern, i);
    }
    /// Checks what is left of a block of `size` bytes when only the first `kept` of them were to be kept.
    MPMM_FUZZ_PLAIN static void check(const std::byte* block, std::size_t size, std::size_t kept, std::uint64_t seed, const char* when) {
        const std::uint64_t pattern = pattern_of(seed);
        const std::size_t head = size < 2 * edge ? size : edge, tail = size - head < edge ? head : size - edge;
        for (std::size_t i = 0; i < head && i < kept; ++i) one(block, i, pattern, size, when);
        for (std::size_t i = tail; i < size && i < kept; ++i) one(block, i, pattern, size, when);
        for (std::size_t i = step(size); i < tail && i < kept; i += step(size)) one(block, i, pattern, size, when);
    }
    /// Checks that the first `size` bytes are zero: all of them in blocks up to `whole`, one in each 4096 beyond.
    static void check_zero(const std::byte* block, std::size_t size) {
        constexpr std::size_t whole = std::size_t{2} << 20, step = 4096;
        const std::size_t all = size < whole ? size : whole;
        if (all != 0 && (block[0] != std::byte{0} || std::memcmp(block, block + 1, all - 1) != 0))
            fail("not zero: the zeroed block at ", static_cast<const void*>(block), " of ", size, " bytes");
        for (std::size_t i = all; i < size; i += step)
            if (block[i] != std::byte{0}) fail("not zero: byte ", i, " of the zeroed block at ", static_cast<const void*>(block));
    }

  private:
    static std::uint64_t pattern_of(std::uint64_t seed) { return seed * 0x9E3779B97F4A7C15u >> 8; }
    MPMM_FUZZ_PLAIN static std::byte value(std::uint64_t pattern, std::size_t offset) {
        return static_cast<std::byte>((pattern ^ offset * 167) | 1);
    }
    /// Between samples; whole pages apart in long blocks, so that they are touched where their pages begin.
    MPMM_FUZZ_PLAIN static std::size_t step(std::size_t size) {
        const std::size_t even = size / samples;
        return even < 512 ? 512 : even >= 4096 ? even / 4096 * 4096 : even;
    }
    MPMM_FUZZ_PLAIN static void one(const std::byte* block, std::size_t i, std::uint64_t pattern, std::size_t size, const char* when) {
        if (block[i] == value(pattern, i)) [[likely]]
            return;
        fail("content changed: byte ", i, " of the ", size, " byte block at ", static_cast<const void*>(block), " ", when, " is ",
             std::to_integer<unsigned>(block[i]), ", not ", std::to_integer<unsigned>(value(pattern, i)));
    }
};

}  // namespace mpmm::fuzz
