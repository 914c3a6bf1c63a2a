// SPDX-License-Identifier: Apache-2.0
// Where another thread may step in. In the schedule build every atomic access, spin, sleep and wake-up asks a scheduler first, which may let
// another virtual thread run, and decides which of the values a load may see it sees. All virtual threads take turns on one system thread.
// No other build includes this file. The scheduler itself is the fuzzer's: fuzz/schedule/.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <source_location>
#include <type_traits>

namespace mpmm::schedule {

enum class Access : std::uint8_t {
    load,
    store,
    exchange,
    compare_exchange,
    fetch_add,
    fetch_sub,
    fetch_or,
    fetch_and,
    spin,
    sleep,
    wake,
    call
};

/// What a thread is about to do, and where in the source.
struct Point {
    Access access;
    std::memory_order order;
    const void* address;
    const char* file;
    unsigned line;
};

class Scheduler {
  public:
    /// The calling thread is about to do this. Returns when it is its turn.
    virtual void reach(const Point& point) = 0;
    /// The value that a load sees: `newest`, or an older one that its memory order allows.
    virtual std::uint64_t load(const Point& point, std::uint64_t newest) = 0;
    /// A compare-exchange failed: its load saw `newest`.
    virtual void refused(const Point& point, std::uint64_t newest) = 0;
    /// `old` was replaced by `value`; by a read-modify-write.
    virtual void store(const Point& point, std::uint64_t old, std::uint64_t value) = 0;
    virtual void modify(const Point& point, std::uint64_t old, std::uint64_t value) = 0;
    /// Whether a weak compare-exchange that could succeed fails.
    virtual bool fails_spuriously(const Point& point) = 0;
    /// The bytes begin a new life: what was stored there before is out of sight.
    virtual void born(const void* address, std::size_t size) = 0;
    /// Sleeps while the word is `expected`.
    virtual void sleep(const Point& point, const std::atomic<std::uint32_t>& word, std::uint32_t expected) = 0;

  protected:
    ~Scheduler() = default;
};

/// None: everything runs through.
inline constinit Scheduler* scheduler = nullptr;

/// As many as programs that only count accesses may want; those whose schedule is explored have fewer.
inline constexpr unsigned max_threads = 64;
/// The virtual thread that runs.
inline constinit unsigned thread_index = 0;

/// In place of a thread_local variable: a value for every virtual thread.
template <class T>
class PerThread {
  public:
    constexpr explicit PerThread(T initial) {
        for (T& value : values_) value = initial;
    }
    operator T&() { return values_[thread_index]; }
    PerThread& operator=(T value) {
        values_[thread_index] = value;
        return *this;
    }
    T operator->() const { return values_[thread_index]; }

  private:
    T values_[max_threads]{};
};

inline void reach(Access access, const void* address, const std::source_location& where) {
    if (scheduler != nullptr) scheduler->reach({access, std::memory_order_relaxed, address, where.file_name(), where.line()});
}

/// std::atomic whose every access is a point of the schedule.
template <class T>
class Atomic {
    static_assert(sizeof(T) <= sizeof(std::uint64_t) && std::is_trivially_copyable_v<T>);
    using Where = std::source_location;
    using Order = std::memory_order;

  public:
    constexpr Atomic() = default;
    constexpr Atomic(T value) : value_(value) {
        if (!std::is_constant_evaluated() && scheduler != nullptr) scheduler->born(this, sizeof *this);
    }
    Atomic(const Atomic&) = delete;
    Atomic& operator=(const Atomic&) = delete;

    T load(Order order = std::memory_order_seq_cst, Where where = Where::current()) const {
        const Point at = reach(Access::load, order, where);
        const T newest = value_.load(order);
        return scheduler == nullptr ? newest : from_bits(scheduler->load(at, bits(newest)));
    }
    void store(T desired, Order order = std::memory_order_seq_cst, Where where = Where::current()) {
        const Point at = reach(Access::store, order, where);
        const T old = value_.load(std::memory_order_relaxed);
        value_.store(desired, order);
        if (scheduler != nullptr) scheduler->store(at, bits(old), bits(desired));
    }
    T exchange(T desired, Order order = std::memory_order_seq_cst, Where where = Where::current()) {
        return modify(reach(Access::exchange, order, where), [&] { return value_.exchange(desired, order); });
    }
    bool compare_exchange_strong(T& expected, T desired, Order order, Order failure, Where where = Where::current()) {
        return compare(reach(Access::compare_exchange, order, where), expected, desired, order, failure);
    }
    bool compare_exchange_weak(T& expected, T desired, Order order, Order failure, Where where = Where::current()) {
        const Point at = reach(Access::compare_exchange, order, where);
        if (scheduler != nullptr && value_.load(std::memory_order_relaxed) == expected && scheduler->fails_spuriously(at)) return false;
        return compare(at, expected, desired, order, failure);
    }
    T fetch_add(T by, Order order = std::memory_order_seq_cst, Where where = Where::current()) {
        return modify(reach(Access::fetch_add, order, where), [&] { return value_.fetch_add(by, order); });
    }
    T fetch_sub(T by, Order order = std::memory_order_seq_cst, Where where = Where::current()) {
        return modify(reach(Access::fetch_sub, order, where), [&] { return value_.fetch_sub(by, order); });
    }
    T fetch_or(T by, Order order = std::memory_order_seq_cst, Where where = Where::current()) {
        return modify(reach(Access::fetch_or, order, where), [&] { return value_.fetch_or(by, order); });
    }
    T fetch_and(T by, Order order = std::memory_order_seq_cst, Where where = Where::current()) {
        return modify(reach(Access::fetch_and, order, where), [&] { return value_.fetch_and(by, order); });
    }
    void sleep(T expected, Where where = Where::current()) {
        scheduler->sleep({Access::sleep, std::memory_order_relaxed, this, where.file_name(), where.line()}, value_, expected);
    }

  private:
    static std::uint64_t bits(T value) {
        std::uint64_t bits = 0;
        std::memcpy(&bits, &value, sizeof value);
        return bits;
    }
    static T from_bits(std::uint64_t bits) {
        T result;
        std::memcpy(&result, &bits, sizeof result);
        return result;
    }
    Point reach(Access access, Order order, const Where& where) const {
        const Point at{access, order, this, where.file_name(), where.line()};
        if (scheduler != nullptr) scheduler->reach(at);
        return at;
    }
    template <class Change>
    T modify(const Point& at, Change change) {
        const T old = change();
        if (scheduler != nullptr) scheduler->modify(at, bits(old), bits(value_.load(std::memory_order_relaxed)));
        return old;
    }
    bool compare(Point at, T& expected, T desired, Order order, Order failure) {
        if (value_.compare_exchange_strong(expected, desired, order, failure)) {
            if (scheduler != nullptr) scheduler->modify(at, bits(expected), bits(desired));
            return true;
        }
        at.order = failure;
        if (scheduler != nullptr) scheduler->refused(at, bits(expected));
        return false;
    }

    std::atomic<T> value_{};
};

}  // namespace mpmm::schedule
