// SPDX-License-Identifier: Apache-2.0
// What the allocator knows about the current thread, and the hooks for its end and for fork.
//
// The TLS model is initial-exec: one load from the GOT and one from %fs, no call. It costs 16 bytes of static TLS, which glibc's surplus
// covers even when the library is loaded late with dlopen.
#pragma once

#include "platform/lock.hpp"
#include "platform/thread_words.hpp"

#include <cstdint>

namespace mpmm {

/// The calling thread's cache, one slot per cache type. It starts at Cache::empty(), so the fast path tests no null pointer.
template <class Cache>
struct ThreadSlot {
#ifdef MPMM_SCHEDULE_BUILD
    static inline constinit schedule::PerThread<Cache*> current{Cache::empty()};
    static inline constinit schedule::PerThread<bool> exited{false};
#elif defined(MPMM_THREAD_WORDS)
    static inline constinit thread_words::Word<Cache*, &Cache::empty> current;
    static inline constinit thread_words::Word<bool> exited;
#else
    [[gnu::tls_model("initial-exec")]] static inline constinit thread_local Cache* current = Cache::empty();
    /// Set once the exit hook ran: this thread gets no cache any more.
    [[gnu::tls_model("initial-exec")]] static inline constinit thread_local bool exited = false;
#endif
};

namespace thread {

/// A word whose address is the calling thread's identity while it lives.
#ifdef MPMM_SCHEDULE_BUILD
inline constinit char identities[schedule::max_threads]{};
inline const void* self() { return &identities[schedule::thread_index]; }
#elif defined(MPMM_THREAD_WORDS)
inline const void* self() { return thread_words::block(); }
#else
[[gnu::tls_model("initial-exec")]] inline constinit thread_local char identity = 0;
inline const void* self() { return &identity; }
#endif

/// Calls a function when a thread ends, after its C++ thread_local destructors. Constant-initialised; thread-safe; allocates nothing.
class ExitHook {
  public:
    constexpr explicit ExitHook(void (*function)(void* argument)) : function_(function) {}

    /// Gets the slot from the system; false when there is none left. arm() does it when nobody did before.
    bool prepare();
    /// Makes function(argument) run when the calling thread ends. False when the system has no slot left; then it never runs. The main
    /// thread's end is the end of the process: no call.
    bool arm(void* argument);
    /// Withdraws arm() for the calling thread.
    void disarm();

  private:
    void (*function_)(void*);
    Mutex lock_;
    Atomic<int> state_{0};  // 0 no key yet, 1 key, -1 refused
    unsigned key_ = 0;
};

/// Registers handlers for fork: `prepare` before it, `parent` and `child` after it. May allocate. Call once.
void at_fork(void (*prepare)(), void (*parent)(), void (*child)());

}  // namespace thread
}  // namespace mpmm
