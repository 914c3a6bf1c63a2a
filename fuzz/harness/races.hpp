// SPDX-License-Identifier: Apache-2.0
// In the schedule build ThreadSanitizer takes the virtual threads for threads, and sees of what they do only what the allocator does: the harness
// belongs to all of them at once, and is ordered by nothing but the schedule. In all other builds this is empty.
#pragma once

#ifdef MPMM_FUZZ_TSAN
#include <sanitizer/tsan_interface.h>

extern "C" {
void __tsan_ignore_thread_begin();
void __tsan_ignore_thread_end();
void __tsan_write1(void* address);
}
#endif

namespace mpmm::fuzz::races {

#ifdef MPMM_FUZZ_TSAN
inline void unwatch() { __tsan_ignore_thread_begin(); }
inline void watch() { __tsan_ignore_thread_end(); }
/// What happened before leave() happens before what comes after a later pick_up() of the same.
inline void leave(const void* what) { __tsan_release(const_cast<void*>(what)); }
inline void pick_up(const void* what) { __tsan_acquire(const_cast<void*>(what)); }
inline void write(void* address) { __tsan_write1(address); }
#else
inline void unwatch() {}
inline void watch() {}
inline void leave(const void*) {}
inline void pick_up(const void*) {}
inline void write(void*) {}
#endif

/// The harness at work in the middle of the allocator. Every virtual thread begins so.
struct Unwatched {
    Unwatched() { unwatch(); }
    ~Unwatched() { watch(); }
    Unwatched(const Unwatched&) = delete;
    Unwatched& operator=(const Unwatched&) = delete;
};
/// The allocator at work in the middle of the harness.
struct Watched {
    Watched() { watch(); }
    ~Watched() { unwatch(); }
    Watched(const Watched&) = delete;
    Watched& operator=(const Watched&) = delete;
};

}  // namespace mpmm::fuzz::races
