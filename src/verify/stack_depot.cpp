// SPDX-License-Identifier: Apache-2.0
#include "verify/stack_depot.hpp"

#include "platform/lock.hpp"
#include "verify/memory.hpp"

#include <cstring>

namespace mpmm::stack_depot {
namespace {

struct Entry {
    std::uint32_t hash;
    std::uint32_t next;
    std::uint32_t count;
    std::uint32_t unused;
    std::uintptr_t frames[];
};

constexpr std::size_t bucket_count = 1 << 18, segment_bytes = 256 * 1024, segment_units = segment_bytes / 8, segment_count = 4096;

constinit Atomic<std::uint32_t> buckets[bucket_count]{};
constinit Atomic<std::byte*> segments[segment_count]{};
constinit Mutex memory_lock;
std::size_t used_units = 1;  // of all segments; unit 0 stays unused, because 0 is no stack

Entry& at(std::uint32_t number) {
    // acquire: pairs with the store of a new segment, whose number may have come another way.
    return *reinterpret_cast<Entry*>(segments[number / segment_units].load(acquire) + number % segment_units * 8);
}

std::uint32_t hash_of(const std::uintptr_t* frames, std::size_t count) {
    std::uint64_t hash = count;
    for (std::size_t i = 0; i < count; ++i) hash = (hash ^ frames[i]) * 0x9E3779B97F4A7C15u ^ hash >> 29;
    return static_cast<std::uint32_t>(hash ^ hash >> 32);
}

std::uint32_t search(std::uint32_t number, std::uint32_t end, std::uint32_t hash, const std::uintptr_t* frames, std::size_t count) {
    for (; number != end; number = at(number).next) {
        const Entry& entry = at(number);
        if (entry.hash == hash && entry.count == count && std::memcmp(entry.frames, frames, count * sizeof *frames) == 0) return number;
    }
    return 0;
}

/// Room for an entry of `units`, or 0.
std::uint32_t allocate(std::size_t units) {
    const Guard guard(memory_lock);
    // An entry lies in one segment.
    if (used_units % segment_units + units > segment_units) used_units = (used_units / segment_units + 1) * segment_units;
    const std::size_t segment = used_units / segment_units;
    if (segment >= segment_count) return 0;
    if (segments[segment].load(relaxed) == nullptr) {
        auto* const memory = static_cast<std::byte*>(record_memory(segment_bytes, 8));
        if (memory == nullptr) return 0;
        segments[segment].store(memory, release);
    }
    const std::size_t number = used_units;
    used_units += units;
    return static_cast<std::uint32_t>(number);
}

}  // namespace

std::uint32_t put(const std::uintptr_t* frames, std::size_t count) {
    if (count == 0) return 0;
    if (count > max_frames) count = max_frames;
    const std::uint32_t hash = hash_of(frames, count);
    Atomic<std::uint32_t>& bucket = buckets[hash % bucket_count];
    // acquire: the entry that a number stands for is complete. The release below is its partner.
    std::uint32_t head = bucket.load(acquire);
    if (const std::uint32_t found = search(head, 0, hash, frames, count); found != 0) return found;
    const std::uint32_t number = allocate(2 + count);
    if (number == 0) return 0;
    Entry& entry = at(number);
    entry.hash = hash;
    entry.count = static_cast<std::uint32_t>(count);
    std::memcpy(entry.frames, frames, count * sizeof *frames);
    // Two threads may add the same stack at the same moment; both entries are right.
    do entry.next = head;
    while (!bucket.compare_exchange_weak(head, number, release, acquire));
    return number;
}

std::size_t get(std::uint32_t stack, const std::uintptr_t*& frames) {
    if (stack == 0) return 0;
    const Entry& entry = at(stack);
    frames = entry.frames;
    return entry.count;
}

void lock() { memory_lock.lock(); }
void unlock() { memory_lock.unlock(); }
void reset_after_fork() { memory_lock.reset_after_fork(); }

}  // namespace mpmm::stack_depot
