// SPDX-License-Identifier: Apache-2.0
// The contents of blocks: every block is filled from its own seed, and checked before it changes or goes. Short blocks are filled whole;
// of longer ones the first and the last bytes, where neighbours and headers would write, and samples between.
#pragma once

#include "harness/failure.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace mpmm::fuzz {

class Signature {
  public:
    static constexpr std::size_t edge = 128;
    static constexpr std::size_t samples = 64;

    static void fill(std::byte* block, std::size_t size, std::uint64_t seed) {
        visit(size, [=](std::size_t offset, std::size_t count) {
            for (std::size_t i = offset; i < offset + count; ++i) block[i] = value(seed, i);
        });
    }
    /// Checks what is left of a block of `size` bytes when only the first `kept` of them were to be kept.
    static void check(const std::byte* block, std::size_t size, std::size_t kept, std::uint64_t seed, const char* when) {
        visit(size, [=](std::size_t offset, std::size_t count) {
            for (std::size_t i = offset; i < offset + count && i < kept; ++i)
                if (block[i] != value(seed, i)) [[unlikely]]
                    fail("content changed: byte ", i, " of the ", size, " byte block at ", static_cast<const void*>(block), " ", when, " is ",
                         std::to_integer<unsigned>(block[i]), ", not ", std::to_integer<unsigned>(value(seed, i)));
        });
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
    static std::byte value(std::uint64_t seed, std::size_t offset) {
        return static_cast<std::byte>((seed * 0x9E3779B97F4A7C15u + offset * 167) >> 8 | 1);
    }
    template <class Visit>
    static void visit(std::size_t size, Visit touch) {
        if (size <= 2 * edge) {
            touch(std::size_t{0}, size);
            return;
        }
        touch(std::size_t{0}, edge);
        const std::size_t step = size / samples < 512 ? 512 : size / samples;
        // Whole pages apart, so that long blocks are touched where their pages begin.
        const std::size_t aligned = step >= 4096 ? step / 4096 * 4096 : step;
        for (std::size_t i = aligned; i + edge < size; i += aligned) touch(i, std::size_t{1});
        touch(size - edge, edge);
    }
};

}  // namespace mpmm::fuzz
