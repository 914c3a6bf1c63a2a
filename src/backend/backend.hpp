// SPDX-License-Identifier: Apache-2.0
// Where address space comes from: the system, or the user's callbacks. Checks what it gets (alignment, success) before anybody uses it,
// and counts what is mapped. Thread-safe: the callbacks must be, and the rest is counters.
#pragma once

#include "mpmm/mpmm.h"
#include "platform/atomics.hpp"
#include "platform/bits.hpp"
#include "platform/os.hpp"

#include <cstddef>

namespace mpmm {

/// The callbacks for the operating system's memory.
const mpmm_backend& system_backend();
/// Its callback for memory, one implementation a system.
void* system_allocate(void* context, std::size_t size, std::size_t alignment);

class Backend {
  public:
    constexpr Backend() = default;

    /// Replaces the system; only before the first allocate().
    void use(const mpmm_backend& callbacks) { callbacks_ = callbacks; }
    bool used() const { return used_.load(relaxed); }

    /// `size` bytes (whole pages) aligned to `alignment`, or nullptr.
    void* allocate(std::size_t size, std::size_t alignment);
    /// Gives back a part of what allocate() gave; false when the backend keeps it.
    bool deallocate(void* address, std::size_t size);
    /// Gives the physical pages back; false when the backend cannot.
    bool purge(void* address, std::size_t size);
    bool resize(void* address, std::size_t old_size, std::size_t new_size);
    /// No longer counts what allocate() gave, without giving it back.
    void forget(std::size_t size) { mapped_.fetch_sub(size, relaxed); }
    /// Moves `old_size` bytes of pages onto the start of the freshly allocated [to, to + new_size); `from` is deallocated. Only for the
    /// system's memory. When it fails `from` is unchanged, and `to` must be forgotten: the kernel may have unmapped it already.
    bool move(void* from, std::size_t old_size, void* to, std::size_t new_size);

    bool fresh_is_zero() const { return is_system() || (callbacks_.flags & MPMM_BACKEND_ZEROED) != 0; }
    bool purged_is_zero() const { return is_system() || (callbacks_.flags & MPMM_BACKEND_PURGE_ZEROES) != 0; }
    /// Whether memory of two allocations may be given back in one call when it is adjacent.
    bool mergeable() const { return is_system(); }
    /// Whether move() is worth trying.
    bool can_move() const { return os::can_move && is_system(); }
    bool is_system() const { return callbacks_.allocate == nullptr; }

    std::size_t mapped() const { return mapped_.load(relaxed); }
    std::size_t peak() const { return peak_.load(relaxed); }
    std::size_t purged() const { return purged_.load(relaxed); }

  private:
    const mpmm_backend& callbacks() const { return is_system() ? system_backend() : callbacks_; }
    void count(std::size_t added);

    mpmm_backend callbacks_{};
    // All relaxed: they say how much and whether, and lead to nothing that somebody would have to see.
    Atomic<bool> used_{false};
    Atomic<std::size_t> mapped_{0}, peak_{0}, purged_{0};
};

}  // namespace mpmm
