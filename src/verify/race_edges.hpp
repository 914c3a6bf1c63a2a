// SPDX-License-Identifier: Apache-2.0
// For a program that ThreadSanitizer watches while this library was built without it: what a thread did to a block before it freed it happens
// before what the next one does that gets the same memory. Without these edges every block that is used again would look like a race. A library
// that was built with ThreadSanitizer has none: its own memory orders are what is to be watched then.
#pragma once

#include "verify/sanitizers.hpp"

#if defined(__linux__) && !defined(MPMM_THREAD_SANITIZER)
#define MPMM_RACE_EDGES
/// Part of ThreadSanitizer's runtime, when the program has one.
extern "C" [[gnu::weak]] void __tsan_acquire(void* address);
extern "C" [[gnu::weak]] void __tsan_release(void* address);
extern "C" [[gnu::weak]] void __tsan_ignore_thread_begin();
extern "C" [[gnu::weak]] void __tsan_ignore_thread_end();
#endif

namespace mpmm::race_edges {

/// Whether the program is watched.
inline bool on() {
#ifdef MPMM_RACE_EDGES
    return &__tsan_acquire != nullptr;
#else
    return false;
#endif
}
/// What the calling thread did happens before what others do after take() of the same.
inline void leave([[maybe_unused]] void* what) {
#ifdef MPMM_RACE_EDGES
    if (on()) __tsan_release(what);
#endif
}
inline void take([[maybe_unused]] void* what) {
#ifdef MPMM_RACE_EDGES
    if (on()) __tsan_acquire(what);
#endif
}

/// While this exists, nothing that the calling thread does is looked at: the C library's functions are, whoever calls them.
class Unwatched {
  public:
    Unwatched() {
#ifdef MPMM_RACE_EDGES
        if (on()) __tsan_ignore_thread_begin();
#endif
    }
    ~Unwatched() {
#ifdef MPMM_RACE_EDGES
        if (on()) __tsan_ignore_thread_end();
#endif
    }
    Unwatched(const Unwatched&) = delete;
    Unwatched& operator=(const Unwatched&) = delete;
};

}  // namespace mpmm::race_edges
