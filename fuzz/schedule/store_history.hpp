// SPDX-License-Identifier: Apache-2.0
// The last stores to every atomic object, and which of them a load may see: C++'s memory model without consume and fences, as far as the
// modification order of an object is the order in which the run stores. Vector clocks tell what happens before what.
//
//   A load may see a store unless a later one happens before it, or its thread, or one whose load happens before it, saw a later one (coherence);
//   a seq_cst load sees nothing older than the last seq_cst store. An acquire load that sees a release store joins its clock; a
//   read-modify-write sees the last store and goes on with the release sequence it is in.
//
// After C. Lidbury and A. F. Donaldson, "Dynamic Race Detection for C++11", POPL 2017.
#pragma once

#include "platform/schedule.hpp"
#include "schedule/plan.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <unordered_map>

namespace mpmm::fuzz {

class VectorClock {
  public:
    std::uint32_t operator[](unsigned thread) const { return ticks_[thread]; }
    void tick(unsigned thread) { ++ticks_[thread]; }
    void join(const VectorClock& other) {
        for (unsigned i = 0; i < ticks_.size(); ++i) ticks_[i] = ticks_[i] < other.ticks_[i] ? other.ticks_[i] : ticks_[i];
    }

  private:
    std::array<std::uint32_t, max_fibers> ticks_{};
};

class StoreHistory {
  public:
    static constexpr unsigned kept = 8;

    /// Forgets everything: a run begins.
    void clear();
    /// How many values a load may see, the newest included; at least 1.
    unsigned choices(unsigned thread, const schedule::Point& point, std::uint64_t newest);
    /// The load sees the value `age` stores back.
    std::uint64_t load(unsigned thread, const schedule::Point& point, unsigned age);
    void store(unsigned thread, const schedule::Point& point, std::uint64_t old, std::uint64_t value);
    void modify(unsigned thread, const schedule::Point& point, std::uint64_t old, std::uint64_t value);
    /// The bytes have no history any more.
    void forget(const void* address, std::size_t size);

    /// What else makes one thread's deeds happen before another's.
    VectorClock& clock(unsigned thread) { return clocks_[thread]; }

  private:
    struct Store {
        std::uint64_t value = 0;
        unsigned thread = 0;
        std::uint32_t tick = 0;  ///< 0: before everything
        bool seq_cst = false;
        VectorClock released;  ///< what an acquire load joins
    };
    struct Seen {
        std::uint64_t number = 0;  ///< of the store
        std::uint32_t tick = 0;
    };
    struct Object {
        std::array<Store, kept> stores;
        std::uint64_t count = 0;  ///< stores ever; the last is number count - 1
        std::array<Seen, max_fibers> seen{};

        Store& at(std::uint64_t number) { return stores[number % kept]; }
        std::uint64_t oldest() const { return count > kept ? count - kept : 0; }
    };

    Object& object(const void* address, std::uint64_t newest);
    std::uint64_t lowest(unsigned thread, const schedule::Point& point, Object& object);
    void push(Object& object, unsigned thread, const schedule::Point& point, std::uint64_t value, const VectorClock* sequence);

    std::unordered_map<const void*, Object> objects_;
    std::array<VectorClock, max_fibers> clocks_{};
};

}  // namespace mpmm::fuzz
