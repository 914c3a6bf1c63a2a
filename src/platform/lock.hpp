// SPDX-License-Identifier: Apache-2.0
// A mutual exclusion lock of four bytes that needs no construction, allocates nothing and survives fork: it spins a little, then
// sleeps in the kernel. The three states and their transitions are those of U. Drepper, "Futexes Are Tricky" (2011), mutex 2.
#pragma once

#include "platform/os.hpp"

#include <cstdint>

namespace mpmm {

class Mutex {
  public:
    constexpr Mutex() = default;
    Mutex(const Mutex&) = delete;
    Mutex& operator=(const Mutex&) = delete;

    void lock() {
        std::uint32_t state = free_;
        // acquire: what the last holder wrote happens before what we read. The release in unlock() is its partner.
        if (state_.compare_exchange_strong(state, held_, acquire, relaxed)) [[likely]]
            return;
        lock_slow();
    }
    bool try_lock() {
        std::uint32_t state = free_;
        return state_.compare_exchange_strong(state, held_, acquire, relaxed);
    }
    void unlock() {
        if (state_.exchange(free_, release) == contended_) os::wake_one(state_);
    }
    /// In the child of fork: whoever held the lock does not exist here.
    void reset_after_fork() { state_.store(free_, relaxed); }

  private:
    [[gnu::cold]] [[gnu::noinline]] void lock_slow() {
        for (int spin = 0; spin < spins_; ++spin) {
            cpu_relax();
            if (state_.load(relaxed) == free_ && try_lock()) return;
        }
        while (state_.exchange(contended_, acquire) != free_) os::wait(state_, contended_);
    }

    static constexpr std::uint32_t free_ = 0, held_ = 1, contended_ = 2;
    static constexpr int spins_ = lock_spins;
    Atomic<std::uint32_t> state_{free_};
};

/// Holds a Mutex for a scope.
class Guard {
  public:
    explicit Guard(Mutex& mutex) : mutex_(mutex) { mutex_.lock(); }
    ~Guard() { mutex_.unlock(); }
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;

  private:
    Mutex& mutex_;
};

}  // namespace mpmm
