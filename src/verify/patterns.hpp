// SPDX-License-Identifier: Apache-2.0
// What verify fills memory with, so that stray writes show and uses of stale or fresh memory are conspicuous.
#pragma once

#include "verify/alloc_record.hpp"

#include <cstring>

namespace mpmm::patterns {

inline constexpr unsigned char fresh = 0xBE;  ///< a new block
inline constexpr unsigned char freed = 0xDF;  ///< a freed one
inline constexpr unsigned char front = 0xFA;  ///< the redzone before a block
inline constexpr unsigned char rear = 0xFB;   ///< the redzone behind it

/// Of a new block so many bytes are filled: filling all of a big one would fetch pages that the program never touches.
inline constexpr std::size_t fresh_bytes = 4096;
/// A redzone is at most this long, which is the most that redzone_bytes may ask for; a block's slack beyond it is neither filled nor checked.
inline constexpr std::size_t redzone_window = 2048;
/// Freed blocks from this size on are made inaccessible instead of filled, where that can be.
inline constexpr std::size_t closed_bytes = 64 * 1024;

inline void paint(std::byte* begin, const std::byte* end, unsigned char value) {
    std::memset(begin, value, static_cast<std::size_t>(end - begin));
}

/// The first byte in [begin, end) that is not `value`, or `end`.
inline const std::byte* mismatch(const std::byte* begin, const std::byte* end, unsigned char value) {
    const std::uint64_t word = 0x0101010101010101u * value;
    // Four words a step, which compilers turn into vectors.
    while (end - begin >= 32) {
        std::uint64_t found[4];
        std::memcpy(found, begin, sizeof found);
        if (((found[0] ^ word) | (found[1] ^ word) | (found[2] ^ word) | (found[3] ^ word)) != 0) break;
        begin += sizeof found;
    }
    while (begin != end && static_cast<unsigned char>(*begin) == value) ++begin;
    return begin;
}

/// The part of a place's redzones that is filled.
inline std::byte* front_begin(const Place& place) {
    return static_cast<std::size_t>(place.user - place.low) > redzone_window ? place.user - redzone_window : place.low;
}
inline std::byte* rear_end(const Place& place) {
    std::byte* const end = place.end();
    return static_cast<std::size_t>(place.high - end) > redzone_window ? end + redzone_window : place.high;
}
inline void fill_redzones(const Place& place) {
    paint(front_begin(place), place.user, front);
    paint(place.end(), rear_end(place), rear);
}
/// The first changed byte of the front redzone, or nullptr; counted from the block, since what runs under it comes from there.
inline const std::byte* damaged_front(const Place& place) {
    const std::byte* const begin = front_begin(place);
    if (mismatch(begin, place.user, front) == place.user) return nullptr;
    const std::byte* nearest = place.user - 1;
    while (static_cast<unsigned char>(*nearest) == front) --nearest;
    return nearest;
}
inline const std::byte* damaged_rear(const Place& place) {
    const std::byte *const end = rear_end(place), *const found = mismatch(place.end(), end, rear);
    return found == end ? nullptr : found;
}

}  // namespace mpmm::patterns
