// SPDX-License-Identifier: Apache-2.0
#include "schedule/store_history.hpp"

#include <algorithm>

namespace mpmm::fuzz {

namespace {

bool acquires(std::memory_order order) {
    return order == std::memory_order_acquire || order == std::memory_order_acq_rel || order == std::memory_order_seq_cst;
}
bool releases(std::memory_order order) {
    return order == std::memory_order_release || order == std::memory_order_acq_rel || order == std::memory_order_seq_cst;
}

}  // namespace

void StoreHistory::clear() {
    objects_.clear();
    clocks_ = {};
}

/// The object at `address`; with a new history when it has none, or when the value was changed behind it: by memory becoming zero.
auto StoreHistory::object(const void* address, std::uint64_t newest) -> Object& {
    Object& object = objects_[address];
    if (object.count != 0 && object.at(object.count - 1).value == newest) return object;
    object = {};
    object.at(0).value = newest;
    object.count = 1;
    return object;
}

std::uint64_t StoreHistory::lowest(unsigned thread, const schedule::Point& point, Object& object) {
    std::uint64_t lowest = object.oldest();
    for (std::uint64_t number = object.count; number-- > lowest;) {
        const Store& store = object.at(number);
        if (store.tick <= clocks_[thread][store.thread] || (store.seq_cst && point.order == std::memory_order_seq_cst)) {
            lowest = number;
            break;
        }
    }
    for (unsigned other = 0; other < max_fibers; ++other) {
        const Seen& seen = object.seen[other];
        if (other == thread || (seen.tick != 0 && seen.tick <= clocks_[thread][other])) lowest = std::max(lowest, seen.number);
    }
    return lowest;
}

unsigned StoreHistory::choices(unsigned thread, const schedule::Point& point, std::uint64_t newest) {
    Object& found = object(point.address, newest);
    return static_cast<unsigned>(found.count - lowest(thread, point, found));
}

std::uint64_t StoreHistory::load(unsigned thread, const schedule::Point& point, unsigned age) {
    Object& object = objects_[point.address];
    const std::uint64_t number = object.count - 1 - age;
    const Store& store = object.at(number);
    if (acquires(point.order)) clocks_[thread].join(store.released);
    // The next thing this thread does is later than this load.
    clocks_[thread].tick(thread);
    object.seen[thread] = {std::max(number, object.seen[thread].number), clocks_[thread][thread]};
    return store.value;
}

void StoreHistory::push(Object& object, unsigned thread, const schedule::Point& point, std::uint64_t value, const VectorClock* sequence) {
    clocks_[thread].tick(thread);
    Store& store = object.at(object.count);
    VectorClock released = sequence != nullptr ? *sequence : VectorClock{};
    if (releases(point.order)) released.join(clocks_[thread]);
    store = {value, thread, clocks_[thread][thread], point.order == std::memory_order_seq_cst, released};
    object.seen[thread] = {object.count, store.tick};
    ++object.count;
}

void StoreHistory::store(unsigned thread, const schedule::Point& point, std::uint64_t old, std::uint64_t value) {
    push(object(point.address, old), thread, point, value, nullptr);
}

void StoreHistory::modify(unsigned thread, const schedule::Point& point, std::uint64_t old, std::uint64_t value) {
    Object& found = object(point.address, old);
    const VectorClock sequence = found.at(found.count - 1).released;
    if (acquires(point.order)) clocks_[thread].join(sequence);
    push(found, thread, point, value, &sequence);
}

void StoreHistory::forget(const void* address, std::size_t size) {
    if (size <= sizeof(std::uint64_t)) {
        objects_.erase(address);
        return;
    }
    const auto begin = reinterpret_cast<std::uintptr_t>(address);
    std::erase_if(objects_, [&](const auto& entry) { return reinterpret_cast<std::uintptr_t>(entry.first) - begin < size; });
}

}  // namespace mpmm::fuzz
