// SPDX-License-Identifier: Apache-2.0
// The owner word: the first word of every tenant of a chunk (block allocator, large run, or nobody). It says who may take blocks, in one
// compare: the fast path of free continues exactly when the word equals its own thread cache's address, which is `active`.
//
//   active   (cache)  in a bin of the cache; free takes the fast path
//   checked  (cache)  like active, but for block allocators of less than one bitmap word: free takes the slow path, which counts
//   full     (cache)  every block was handed out; on no list. Frees wake it once enough blocks came back
//   queued   (cache)  woken by a remote free, on the cache's recovered list
//   orphan            its cache is gone; on the orphan list of its size class
//   unused            no block allocator: the slot is free
//   foreign           the address is not ours
//   large_used, large_free    a run of chunks
//   intrusive         a chunk whose block allocators lie in their slots
//
//             ┌──────────── local frees ─────────────┐
//             ▼                                      │
//  unused → active/checked ── no free block left → full ── remote frees → queued ─┐
//    ▲        │   ▲   ▲                                       │                   │
//    └ empty ─┘   │   └────────── owner takes it back ────────┼───────────────────┘
//                 └─ adopted ── orphan ◄── cache ended ───────┘ (also from active; straight to unused when all blocks are free)
#pragma once

#include "platform/atomics.hpp"

#include <cstdint>
#include <iterator>

namespace mpmm {

enum class OwnerState : std::uintptr_t {
    active = 0,
    full = 1,
    queued = 2,
    checked = 3,
    orphan = 4,
    unused = 5,
    foreign = 6,
    large_used = 7,
    large_free = 8,
    intrusive = 9,
};

constexpr const char* name_of(OwnerState state) {
    constexpr const char* names[] = {"active", "full",    "queued",     "checked",    "orphan",
                                     "unused", "foreign", "large_used", "large_free", "intrusive"};
    return static_cast<std::uintptr_t>(state) < std::size(names) ? names[static_cast<std::uintptr_t>(state)] : "no legal state";
}

/// A thread cache's address and a state, in one word. Caches are aligned to 64 bytes, which leaves six bits. The word 0, what fresh and
/// purged memory holds, is `unused`.
class Owner {
  public:
    static constexpr std::uintptr_t state_mask = 15;

    constexpr Owner() = default;
    constexpr explicit Owner(std::uintptr_t word) : word_(word) {}
    constexpr explicit Owner(OwnerState state) : word_(state == OwnerState::unused ? 0 : static_cast<std::uintptr_t>(state)) {}
    Owner(const void* cache, OwnerState state) : word_(reinterpret_cast<std::uintptr_t>(cache) | static_cast<std::uintptr_t>(state)) {}

    constexpr OwnerState state() const { return word_ == 0 ? OwnerState::unused : static_cast<OwnerState>(word_ & state_mask); }
    template <class Cache>
    Cache* cache() const {
        return reinterpret_cast<Cache*>(word_ & ~state_mask);
    }
    bool belongs_to(const void* cache) const { return (word_ & ~state_mask) == reinterpret_cast<std::uintptr_t>(cache); }
    /// Whether the tenant is a block allocator with blocks in use.
    constexpr bool is_block_allocator() const {
        return word_ != 0 && (word_ & state_mask) <= static_cast<std::uintptr_t>(OwnerState::orphan);
    }
    constexpr std::uintptr_t word() const { return word_; }
    friend constexpr bool operator==(Owner, Owner) = default;

  private:
    std::uintptr_t word_ = 0;
};

/// The transitions drawn above; verify checks every change against it.
constexpr bool legal_transition(OwnerState from, OwnerState to) {
    using enum OwnerState;
    switch (from) {
        case unused: return to == active || to == checked;
        case active:
        case checked: return to == full || to == orphan || to == unused;
        case full: return to == active || to == checked || to == queued;
        case queued: return to == active || to == checked || to == orphan || to == unused;
        case orphan: return to == active || to == checked || to == unused;
        case large_used: return to == large_free;
        case large_free: return to == large_used;
        case foreign:
        case intrusive: return false;
    }
    return false;
}

/// What every tenant of a chunk begins with.
struct Tenant {
    Atomic<std::uintptr_t> owner_word{0};

    Owner owner(std::memory_order order = acquire) const { return Owner(owner_word.load(order)); }
};

}  // namespace mpmm
