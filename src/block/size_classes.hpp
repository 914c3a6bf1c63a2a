// SPDX-License-Identifier: Apache-2.0
// The size classes and the shape of a block allocator for each, computed at compile time from the geometry.
//
// Classes: 8, then steps of 16 up to 128, then eight per doubling up to half a chunk: at most 12.5 % of a block above 128 bytes is lost.
//
// A block allocator of a class lives in a slot, a power of two aligned to itself, so blocks of power-of-two sizes are naturally aligned.
// Its number of blocks is a whole number of bitmap words wherever 64 blocks fit into a chunk; the rest of the slot stays untouched and costs
// addresses only. Blocks below a page share at most 64 pages and larger ones are at most 64, so that one word can tell which of the
// pages (or blocks) are unused.
#pragma once

#include "block/reciprocal.hpp"
#include "platform/bits.hpp"
#include "platform/geometry.hpp"

#include <algorithm>
#include <array>

namespace mpmm {

template <class G>
struct SizeClasses {
    static constexpr std::size_t max_size = G::chunk / 2;
    static constexpr unsigned linear_classes = 9;  // 8, 16, 32, …, 128
    static constexpr unsigned per_doubling = 8;
    static constexpr unsigned count = linear_classes + (floor_log2(max_size) - 7) * per_doubling;
    /// Sizes up to this many bytes find their bin through a table of eight-byte steps.
    static constexpr std::size_t direct_max = 1024;

    /// The smallest class that holds `size`, 0 < size <= max_size. Size 0 gives class 0.
    static constexpr unsigned of(std::size_t size) {
        if (size <= 8) return 0;
        if (size <= 128) return static_cast<unsigned>((size + 15) / 16);
        const unsigned shift = floor_log2(size - 1) - 3;
        return shift * per_doubling + static_cast<unsigned>((size - 1) >> shift) - (4 * per_doubling + 8 - linear_classes);
    }
    static constexpr std::size_t size_of(unsigned index) {
        if (index == 0) return 8;
        if (index < linear_classes) return index * std::size_t{16};
        const unsigned above = index - linear_classes;
        return (per_doubling + 1 + above % per_doubling) * (std::size_t{16} << above / per_doubling);
    }

    struct Shape {
        std::uint32_t size = 0;    ///< of a block
        std::uint16_t blocks = 0;  ///< in a block allocator
        std::uint8_t slot_shift = 0;
        bool intrusive = false;
        Reciprocal reciprocal;

        /// Fewer blocks than a bitmap word: every free looks at the whole.
        constexpr bool checked() const { return blocks < 64; }
    };

    /// The shape of class `index` when sizes up to `intrusive_max` keep their metadata in their own blocks.
    static constexpr Shape shape(unsigned index, std::size_t intrusive_max) {
        const std::size_t size = size_of(index);
        // In 64 bits: with the longest lines and pages 32-bit sizes would overflow.
        const std::uint64_t bytes = size, page = G::page, chunk = G::chunk;
        const std::uint64_t most = std::max(std::bit_ceil(64 * bytes), 64 * page);
        const auto slot = static_cast<std::size_t>(std::min({std::bit_floor(G::map_bits * bytes), most, chunk}));
        std::size_t blocks = std::min(slot / size, G::map_bits);
        if (blocks >= 64) blocks = std::min(blocks / 64 * 64, size >= G::page ? std::size_t{64} : G::map_bits);
        return {static_cast<std::uint32_t>(size), static_cast<std::uint16_t>(blocks), static_cast<std::uint8_t>(floor_log2(slot)),
                size <= intrusive_max, Reciprocal(size)};
    }

    static constexpr std::array<Shape, count> shapes(std::size_t intrusive_max) {
        std::array<Shape, count> all{};
        for (unsigned i = 0; i < count; ++i) all[i] = shape(i, intrusive_max);
        return all;
    }

    /// The tables' own proof: classes ascend, hold what maps to them, waste at most an eighth above 128 bytes, and fit one bitmap.
    static constexpr bool proved() {
        for (unsigned i = 0; i < count; ++i) {
            const std::size_t size = size_of(i), before = i == 0 ? 0 : size_of(i - 1);
            const Shape s = shape(i, 0);
            const std::size_t slot = std::size_t{1} << s.slot_shift;
            if (size <= before || of(size) != i || of(before + 1) != i) return false;
            if (size > 128 && (size - before - 1) * 8 > size) return false;
            if (size > 8 && size % 16 != 0) return false;
            if (s.blocks == 0 || s.blocks > G::map_bits || s.blocks * size > slot || slot / size > G::map_bits) return false;
            if (s.blocks > 64 && s.blocks % 64 != 0) return false;
            if (size < G::page && s.blocks * size > 64 * G::page) return false;
        }
        return size_of(count - 1) == max_size;
    }
};

}  // namespace mpmm
