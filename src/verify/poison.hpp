// SPDX-License-Identifier: Apache-2.0
// In builds with AddressSanitizer, what the program may not touch of a block is poisoned: the redzones of a live one, all of one that waits in the
// quarantine. A stray access, the allocator's own included, is then reported at the instruction. In all other builds these functions are empty.
#pragma once

#include "verify/alloc_record.hpp"

#ifdef __SANITIZE_ADDRESS__
#define MPMM_ADDRESS_SANITIZER
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MPMM_ADDRESS_SANITIZER
#endif
#endif
#ifdef MPMM_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#endif

namespace mpmm::poison {

/// For whoever holds the block's record: all of the place can be touched.
inline void show([[maybe_unused]] const Place& place) {
#ifdef MPMM_ADDRESS_SANITIZER
    __asan_unpoison_memory_region(place.low, static_cast<std::size_t>(place.high - place.low));
#endif
}
/// After show(): of a live block, only the block itself can be touched, by whoever has it at any moment; nothing of a freed one.
inline void hide([[maybe_unused]] const Place& place, [[maybe_unused]] bool freed) {
#ifdef MPMM_ADDRESS_SANITIZER
    std::byte* const rest = freed ? place.user : place.end();
    __asan_poison_memory_region(place.low, static_cast<std::size_t>(place.user - place.low));
    __asan_poison_memory_region(rest, static_cast<std::size_t>(place.high - rest));
#endif
}

}  // namespace mpmm::poison
