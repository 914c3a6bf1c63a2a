// SPDX-License-Identifier: Apache-2.0
// The one door to atomic memory. Every atomic access of the allocator goes through Atomic<T>, so that one build can put a
// deterministic scheduler behind it; in all other builds it is exactly std::atomic. Locks, spins and waits live in lock.hpp.
#pragma once

#include "platform/compiler.hpp"

#include <atomic>
#include <cstdint>
#ifdef MPMM_SCHEDULE_BUILD
#include "platform/schedule.hpp"
#endif

namespace mpmm {

#ifdef MPMM_SCHEDULE_BUILD
using schedule::Atomic;
inline constexpr int lock_spins = 1;
#else
template <class T>
using Atomic = std::atomic<T>;
/// How often a lock looks before its thread sleeps.
inline constexpr int lock_spins = 100;
#endif

inline constexpr auto relaxed = std::memory_order_relaxed;
inline constexpr auto acquire = std::memory_order_acquire;
inline constexpr auto release = std::memory_order_release;
inline constexpr auto acq_rel = std::memory_order_acq_rel;
inline constexpr auto seq_cst = std::memory_order_seq_cst;

// Counters and settings have 64 bits everywhere.
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

/// Tells the processor that this thread spins.
inline void cpu_relax() {
#if defined(MPMM_SCHEDULE_BUILD)
    schedule::reach(schedule::Access::spin, nullptr, std::source_location::current());
#elif defined(MPMM_MSVC)
    _mm_pause();
#elif defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

}  // namespace mpmm
