// SPDX-License-Identifier: Apache-2.0
// One pointer and one number per thread, for what is not on the fast paths of malloc and free.
#pragma once

#include "platform/atomics.hpp"
#include "platform/thread_words.hpp"

#include <cstdint>

namespace mpmm {

/// T's pointer of the calling thread. Initial-exec, see thread.hpp.
template <class T>
struct ThreadPointer {
#ifdef MPMM_SCHEDULE_BUILD
    static inline constinit schedule::PerThread<T*> value{nullptr};
#elif defined(MPMM_THREAD_WORDS)
    static inline constinit thread_words::Word<T*> value;
#else
    [[gnu::tls_model("initial-exec")]] static inline constinit thread_local T* value = nullptr;
#endif
};

/// The calling thread's number in T's counting; 0 until somebody gives it one.
template <class T>
struct ThreadNumber {
#ifdef MPMM_SCHEDULE_BUILD
    static inline constinit schedule::PerThread<std::uint32_t> value{0};
#elif defined(MPMM_THREAD_WORDS)
    static inline constinit thread_words::Word<std::uint32_t> value;
#else
    [[gnu::tls_model("initial-exec")]] static inline constinit thread_local std::uint32_t value = 0;
#endif
};

}  // namespace mpmm
