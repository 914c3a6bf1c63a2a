// SPDX-License-Identifier: Apache-2.0
#include "verify/guarded.hpp"

#include "platform/bits.hpp"
#include "platform/lock.hpp"
#include "platform/os.hpp"
#include "platform/thread_pointer.hpp"
#include "verify/options.hpp"
#include "verify/patterns.hpp"
#include "verify/report.hpp"
#include "verify/threads.hpp"

#include <algorithm>

namespace mpmm::guarded {
namespace {

struct Slot {
    AllocRecord record;
    Atomic<std::byte*> user{
        nullptr};  // set before the slot can be found, or used again; relaxed: page_slots and the record carry the order
    std::uint32_t first = 0, pages = 0;  // number of the first page, and count without the guard page
    std::uint32_t next = 0;              // in the queue of freed slots; slot numbers begin at 1
};

constexpr std::size_t most_bytes = sizeof(void*) == 8 ? std::size_t{16} << 30 : std::size_t{64} << 20, least_bytes = std::size_t{64} << 20;
constexpr std::uint64_t sparse_rate = 256;  // one in so many once mappings are short
constexpr unsigned queue_count = 4;         // freed slots of 1, 2, 3 and 4 pages; longer ones are not used again

constinit Mutex region_lock;
constinit Atomic<std::byte*> region{nullptr};
constinit std::size_t region_pages = 0, page = 0;
constinit Atomic<std::uint32_t>* page_slots = nullptr;  // the slot each page belongs to; a guard page belongs to the block before it
constinit Slot* slots = nullptr;
constinit std::uint32_t used_pages = 0, used_slots = 0;
constinit bool refused = false;
constinit std::size_t map_budget = 16384;
constinit Atomic<bool> sparse{false};
constinit Atomic<std::size_t> live_blocks{0}, live_bytes{0};
struct Queue {
    std::uint32_t head = 0, tail = 0;
};
constinit Queue freed_slots[queue_count]{};

struct Countdown {};
using Left = ThreadNumber<Countdown>;
struct Random {};
using State = ThreadNumber<Random>;

/// xorshift32 (G. Marsaglia, "Xorshift RNGs", 2003), seeded by the option and the thread's number.
std::uint32_t random() {
    std::uint32_t x = State::value;
    if (x == 0) x = static_cast<std::uint32_t>(options::get(options::seed)) * 2654435761u + verify_threads::number() * 40503u + 1;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return State::value = x;
}

/// Who asked for every block wants to know; who takes samples does not notice.
void tell(const char* text, std::size_t number) {
    if (options::get(options::guard_sample_rate) == 1) report::note(text, number);
}

bool set_up() {
    if (region.load(relaxed) != nullptr) return true;
    if (refused) return false;
    page = os::page_size();
    for (std::size_t bytes = most_bytes; bytes >= least_bytes; bytes /= 4) {
        // Where addresses are limited the program needs them more.
        void* const memory = bytes <= os::address_limit() / 32 ? os::reserve(bytes, false) : nullptr;
        if (memory == nullptr) continue;
        region_pages = bytes / page;
        page_slots = static_cast<Atomic<std::uint32_t>*>(os::reserve(region_pages * sizeof *page_slots, true));
        slots = static_cast<Slot*>(os::reserve((region_pages / 2 + 1) * sizeof *slots, true));
        if (page_slots == nullptr || slots == nullptr) {
            os::unmap(memory, bytes);
            continue;
        }
        // The kernel looks at each page of what it dumps: only what blocks lie on goes into core files.
        os::dump(memory, bytes, false);
        used_pages = 1;  // page 0 is the first guard page
        // release: who finds an address in the region reads the tables.
        region.store(static_cast<std::byte*>(memory), release);
        return true;
    }
    refused = true;
    tell("guarded blocks: no address space for them", 0);
    return false;
}

std::byte* page_address(std::size_t number) { return region.load(relaxed) + number * page; }

/// A slot of so many pages whose block ends `room` bytes behind its start: fresh addresses first, then the longest dead. 0 when there is none.
std::uint32_t take_slot(std::uint32_t pages, std::size_t room) {
    const std::size_t offset = std::size_t{pages} * page - room;
    if (used_pages + pages + 1 <= region_pages) {
        const std::uint32_t number = ++used_slots;
        slots[number].first = used_pages;
        slots[number].pages = pages;
        slots[number].user.store(page_address(used_pages) + offset, relaxed);
        used_pages += pages + 1;
        // release: who reads the number finds the slot's pages set.
        for (std::uint32_t i = 0; i <= pages; ++i) page_slots[slots[number].first + i].store(number, release);
        return number;
    }
    if (pages > queue_count) return 0;
    Queue& queue = freed_slots[pages - 1];
    const std::uint32_t number = queue.head;
    if (number == 0) return 0;
    if ((queue.head = slots[number].next) == 0) queue.tail = 0;
    slots[number].user.store(page_address(slots[number].first) + offset, relaxed);
    return number;
}

void give_slot(std::uint32_t number) {
    if (slots[number].pages > queue_count) return;
    Queue& queue = freed_slots[slots[number].pages - 1];
    slots[number].next = 0;
    (queue.tail != 0 ? slots[queue.tail].next : queue.head) = number;
    queue.tail = number;
}

void fill_place(std::uint32_t number, Place& place) {
    Slot& slot = slots[number];
    place = {&slot.record, slot.user.load(relaxed), page_address(slot.first), page_address(slot.first + slot.pages), true};
}

void visit_slot(std::uint32_t number, void (*visit)(void*, const Place&), void* context) {
    if (slots[number].record.seen() != BlockState::live) return;
    Place place;
    fill_place(number, place);
    visit(context, place);
}

}  // namespace

void prepare(std::size_t mappings) { map_budget = mappings / 2; }

bool due() {
    std::uint64_t rate = options::get(options::guard_sample_rate);
    if (rate == 0) [[likely]]
        return false;
    if (sparse.load(relaxed)) rate = std::max(rate, sparse_rate);
    if (rate == 1) return true;
    if (Left::value == 0) Left::value = 1 + static_cast<std::uint32_t>(random() % (2 * std::min<std::uint64_t>(rate, UINT32_MAX / 4) - 1));
    return --Left::value == 0;
}

bool allocate(std::size_t size, std::size_t alignment, Place& place) {
    if (size > most_bytes / 4 || alignment > most_bytes / 4) return false;
    const Guard guard(region_lock);
    if (!set_up() || alignment > page) return false;
    const auto pages = static_cast<std::uint32_t>(std::max<std::size_t>((size + page - 1) / page, 1));
    if (2 * live_blocks.load(relaxed) >= map_budget) {
        if (!sparse.exchange(true, relaxed))
            tell("guarded blocks: half of vm.max_map_count is used, guarding fewer from now on; live", live_blocks.load(relaxed));
        if (2 * live_blocks.load(relaxed) >= map_budget + map_budget / 4) return false;
    }
    const std::uint32_t number = take_slot(pages, align_up(size, alignment));
    if (number == 0) return false;
    Slot& slot = slots[number];
    const bool used_before = !slot.record.take(BlockState::unused);
    if (used_before && !slot.record.take(BlockState::freed)) {
        give_slot(number);
        return false;
    }
    std::byte* const low = page_address(slot.first);
    const std::size_t length = std::size_t{pages} * page;
    if (used_before) {
        // Who touched them after the last free, or behind the block, was reported and could go on: they are accessible, and not zero.
        os::purge(low, length);
        os::protect(low + length, page, false);
    }
    if (!os::protect(low, length, true)) {
        if (!sparse.exchange(true, relaxed))
            tell("guarded blocks: the system refuses more mappings, guarding fewer from now on; live", live_blocks.load(relaxed));
        slot.record.put(BlockState::freed);
        give_slot(number);
        return false;
    }
    os::dump(low, length, true);
    live_blocks.fetch_add(1, relaxed);
    live_bytes.fetch_add(size, relaxed);
    fill_place(number, place);
    return true;
}

void free(const Place& place) {
    const Guard guard(region_lock);
    live_blocks.fetch_sub(1, relaxed);
    live_bytes.fetch_sub(place.record->size, relaxed);
    const auto size = static_cast<std::size_t>(place.high - place.low);
    os::purge(place.low, size);
    os::protect(place.low, size, false);
    os::dump(place.low, size, false);
    place.record->put(BlockState::freed);
    give_slot(page_slots[static_cast<std::size_t>(place.low - region.load(relaxed)) / page].load(relaxed));
}

bool contains(const void* address) {
    std::byte* const start = region.load(acquire);
    return start != nullptr && static_cast<std::size_t>(static_cast<const std::byte*>(address) - start) < region_pages * page;
}

bool find(const void* address, Place& place) {
    const auto* const where = static_cast<const std::byte*>(address);
    const std::size_t number = static_cast<std::size_t>(where - region.load(acquire)) / page;
    const std::uint32_t at = page_slots[number].load(acquire), after = number + 1 < region_pages ? page_slots[number + 1].load(acquire) : 0;
    if (at == 0 && after == 0) return false;
    fill_place(at != 0 ? at : after, place);
    // On a guard page: whose block is nearer?
    if (at != 0 && after != 0 && at != after) {
        Place next;
        fill_place(after, next);
        // A block of no bytes begins on its guard page.
        const BlockState state = next.record->seen();
        const bool was_one = state != BlockState::unused && state != BlockState::busy;
        if (place.user != where && was_one && next.user >= where && next.user - where < where - place.end()) place = next;
    }
    return true;
}

void for_each(void (*visit)(void*, const Place&), void* context) {
    std::uint32_t count = 0;
    {
        const Guard guard(region_lock);
        count = used_slots;
    }
    for (std::uint32_t number = 1; number <= count; ++number) {
        const Guard guard(region_lock);
        visit_slot(number, visit, context);
    }
}

void for_each_stopped(void (*visit)(void*, const Place&), void* context) {
    for (std::uint32_t number = 1; number <= used_slots; ++number) visit_slot(number, visit, context);
}

bool range(unsigned number, std::uintptr_t& begin, std::uintptr_t& end) {
    if (region.load(acquire) == nullptr || number > 2) return false;
    const void* const starts[] = {region.load(relaxed), page_slots, slots};
    const std::size_t sizes[] = {region_pages * page, region_pages * sizeof *page_slots, (region_pages / 2 + 1) * sizeof *slots};
    begin = reinterpret_cast<std::uintptr_t>(starts[number]);
    end = begin + sizes[number];
    return true;
}

Totals live() { return {live_blocks.load(relaxed), live_bytes.load(relaxed)}; }

void lock() { region_lock.lock(); }
void unlock() { region_lock.unlock(); }
void reset_after_fork() { region_lock.reset_after_fork(); }

}  // namespace mpmm::guarded
