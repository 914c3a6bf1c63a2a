// SPDX-License-Identifier: Apache-2.0
// In builds with AddressSanitizer, what the program may not touch of a block is poisoned: the redzones of a live one, all of one that waits in the
// quarantine. A stray access, the allocator's own included, is then reported at the instruction. In all other builds these functions are empty.
#pragma once

#include "verify/patterns.hpp"
#include "verify/sanitizers.hpp"

#include <algorithm>

#ifdef MPMM_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#endif

namespace mpmm::poison {

/// Of redzones and slack, and of a freed block's both ends, at most so many bytes are poisoned: the shadow of more costs more than it finds.
inline constexpr std::size_t reach = patterns::closed_bytes;

/// The redzones, and of a freed block its content.
inline void mark([[maybe_unused]] const Place& place, [[maybe_unused]] bool freed, [[maybe_unused]] bool poisoned) {
#ifdef MPMM_ADDRESS_SANITIZER
    const auto range = [poisoned](std::byte* begin, const std::byte* end) {
        const auto size = static_cast<std::size_t>(end - begin);
        poisoned ? __asan_poison_memory_region(begin, size) : __asan_unpoison_memory_region(begin, size);
    };
    const auto within = [](const std::byte* begin, const std::byte* end) {
        return std::min<std::size_t>(static_cast<std::size_t>(end - begin), reach);
    };
    std::byte *const begin = place.user - within(place.low, place.user), *const rear = place.end() + within(place.end(), place.high);
    const std::size_t content = freed ? within(place.user, place.end()) : 0;
    range(begin, place.user + content);
    range(place.end() - content, rear);
#endif
}
/// After hide(), for whoever holds the block's record. What the program itself poisoned in a live block stays so.
inline void show(const Place& place, bool freed) { mark(place, freed, false); }
/// Of a live block, only the block itself can be touched, by whoever has it at any moment; nothing of a freed one.
inline void hide(const Place& place, bool freed) { mark(place, freed, true); }
/// What is not the program's any more: its own poison goes as well. Nothing that the heap has is poisoned.
inline void clear(const Place& place) {
    show(place, true);
#ifdef MPMM_ADDRESS_SANITIZER
    // Reading shadow is cheap; writing it would fetch memory for the shadow of what was never touched.
    const std::size_t size = place.record->size;
    if (size > 2 * reach && __asan_region_is_poisoned(place.user, size) != nullptr) __asan_unpoison_memory_region(place.user, size);
#endif
}

}  // namespace mpmm::poison
