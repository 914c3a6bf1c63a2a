// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "platform/os.hpp"
#include "verify/threads.hpp"

#include <algorithm>
#include <cstring>

namespace mpmm {

template <class H>
std::uint64_t CheckedFront<H>::count_operation(const Site& site) {
    const std::uint64_t number = operations_.fetch_add(1, relaxed) + 1, interval = options::get(options::check_interval);
    if (interval != 0 && number % interval == 0) [[unlikely]]
        check_all({site, "by a check"});
    return number;
}

template <class H>
std::uint32_t CheckedFront<H>::store_stack(const Site& site) {
    std::uintptr_t frames[stack_depot::max_frames];
    const std::size_t depth = options::bytes(options::stack_depth);
    if (depth == 0) return 0;
    // Before that the dynamic linker may not be ready to be asked where code is.
    if (!started_.load(relaxed)) return stack_depot::put(&site.pc, 1);
    const std::size_t count = options::get(options::full_unwind) != 0 ? unwind::capture_full(site, false, frames, depth)
                                                                      : unwind::capture(site, false, frames, depth);
    return stack_depot::put(frames, count);
}

template <class H>
bool CheckedFront<H>::find(const void* address, Place& place) {
    if (guarded::contains(address)) return guarded::find(address, place);
    const auto* const where = static_cast<const std::byte*>(address);
    Tenant* tenant = H::shared.locate(address);
    const OwnerState state = tenant->owner().state();
    if (state == OwnerState::foreign || state == OwnerState::large_used) {
        // The chunk map shows a run at its ends, and a block that is aligned to more than a chunk does not begin in the first.
        typename H::LargeRun* const run =
            state == OwnerState::large_used ? static_cast<typename H::LargeRun*>(tenant) : H::shared.large.run_around(where);
        if (run == nullptr || run->owner().state() != OwnerState::large_used) return false;
        std::byte* const low = run->extent.base;
        place = {&run->record, low + run->record.front(), low, low + run->size, false};
        return true;
    }
    if (state == OwnerState::unused || state == OwnerState::large_free || state == OwnerState::intrusive) return false;
    auto& block = *static_cast<Block*>(tenant);
    const std::uint64_t index = block.reciprocal.divide(static_cast<std::size_t>(where - block.base)).quotient;
    if (index >= block.blocks || block.record.allocations == nullptr) return false;
    AllocRecord& record = block.record.allocations[index];
    std::byte* const low = block.address(static_cast<unsigned>(index));
    place = {&record, low + record.front(), low, low + block.size, false};
    return true;
}

// ---- allocation ----

template <class H>
bool CheckedFront<H>::take_from_heap(const Site& site, std::size_t size, std::size_t alignment, bool zero, Source source, Place& place) {
    const std::size_t redzone = options::bytes(options::redzone_bytes), front = std::bit_ceil(std::max(redzone, alignment));
    const std::size_t whole = front + size + redzone;
    const int kept = errno;
    void* low = nullptr;
    if (source == Source::cache) low = H::tcache_malloc(alignment > 16 ? H::aligned_size(front, whole) : whole);
    for (int attempt = 0; attempt < 2 && low == nullptr && source == Source::anywhere; ++attempt) {
        if (alignment > 16) low = H::aligned(front, whole, zero);
        else low = zero ? H::zalloc(whole) : H::malloc(whole);
        // What waits in the quarantine is not lost for a program that is short of memory.
        if (low == nullptr) let_go_overdue(site, 0);
    }
    if (low == nullptr) return false;
    if (!find(low, place)) {
        H::free(low);
        return false;
    }
    // The first attempt may have failed.
    errno = kept;
    // Fresh, or freed in an earlier life; nobody else has it now.
    place.record->state.store(BlockState::busy, relaxed);
    place.record->front_shift.store(static_cast<std::uint8_t>(std::countr_zero(front)), relaxed);
    place.user = place.low + front;
    return true;
}

template <class H>
void* CheckedFront<H>::allocate(const Site& site, Family family, std::size_t size, std::size_t alignment, bool zero, Source source,
                                const void* old) {
    const Inside inside;
    options::load_environment();
    if (size > PTRDIFF_MAX / 2 || alignment > PTRDIFF_MAX / 4) return or_enomem(nullptr);
    const std::uint64_t sequence = count_operation(site);
    Place place;
    const std::size_t guard_alignment =
        alignment <= 16 ? std::min<std::size_t>(alignment, std::bit_floor(options::bytes(options::guard_align))) : alignment;
    const bool is_guarded = source == Source::anywhere && guarded::due() && guarded::allocate(size, guard_alignment, place);
    if (!is_guarded && !take_from_heap(site, size, alignment, zero, source, place)) return or_enomem(nullptr);
    AllocRecord& record = *place.record;
    each_chunk(place, &race_edges::take);
    record.family = family;
    record.size = size;
    record.sequence = sequence & (all_ones >> 1);
    record.closed = 0;
    record.alloc_thread = verify_threads::number();
    record.alloc_stack = store_stack(site);
    patterns::fill_redzones(place);
    if (!zero) patterns::paint(place.user, place.user + std::min(size, patterns::fresh_bytes), patterns::fresh);
    poison::hide(place, false);
    record.put(BlockState::live);
    if (trace::on()) trace::add(old == nullptr ? trace::Operation::allocate : trace::Operation::realloc, sequence, place.user, size, old);
    return place.user;
}

// ---- free ----

template <class H>
bool CheckedFront<H>::take_live(const Site& site, void* user, Place& place) {
    const bool known = find(user, place);
    if (known && place.user == user && place.record->take(BlockState::live)) [[likely]]
        return true;
    bad_free(site, user, known ? &place : nullptr);
    return false;
}

template <class H>
bool CheckedFront<H>::size_fits(const AllocRecord& record, std::size_t size, SizeIs size_is) {
    return size_is == SizeIs::unknown || size == record.size;
}

template <class H>
void CheckedFront<H>::free_block(const Site& site, Family family, void* user, std::size_t size, SizeIs size_is) {
    if (user == nullptr) return;
    const Inside inside;
    Place place;
    if (!take_live(site, user, place)) return;
    if (place.record->family != family) mismatched(site, place, report::Kind::alloc_dealloc_mismatch, report::freed_by(family), 0);
    else if (!size_fits(*place.record, size, size_is)) mismatched(site, place, report::Kind::size_mismatch, nullptr, size);
    const std::uint64_t sequence = count_operation(site);
    if (trace::on()) trace::add(trace::Operation::free, sequence, user, place.record->size);
    retire(site, place);
}

template <class H>
void CheckedFront<H>::retire(const Site& site, const Place& place) {
    AllocRecord& record = *place.record;
    poison::clear(place);
    check_redzones({site, "when it was freed"}, place, false);
    record.free_thread = verify_threads::number();
    record.free_stack = store_stack(site);
    if (place.guarded) {
        each_chunk(place, &race_edges::leave);
        return guarded::free(place);
    }
    close(place);
    race_edges::leave(place.user);
    // A closed block's pages are not in memory.
    const auto length = static_cast<std::size_t>(place.high - place.low);
    const std::size_t cost = record.closed != 0 ? os::whole_page<G>() : length, limit = options::bytes(options::quarantine_bytes);
    poison::hide(place, true);
    record.put(BlockState::quarantined);
    // What waits in a thread's name is everybody's once its cache ends. A thread without one, past its end, has nobody to see to that.
    if (cost > limit || H::own_cache() == nullptr || !quarantine::add(place, cost, limit)) let_go({site, "when it was freed"}, place);
    let_go_overdue(site, limit);
}

/// Makes every later touch of a freed block show: at once where its pages can be taken away, at the next check elsewhere.
template <class H>
void CheckedFront<H>::close(const Place& place) {
    AllocRecord& record = *place.record;
    std::byte *const begin = closed_begin(place), *const end = closed_end(place);
    if (record.size >= patterns::closed_bytes && begin < end && H::shared.backend.is_system() &&
        closed_blocks_.load(relaxed) < most_closed_) {
        const auto length = static_cast<std::size_t>(end - begin);
        if (os::purge(begin, length) && os::protect(begin, length, false)) {
            closed_blocks_.fetch_add(1, relaxed);
            record.closed = 1;
            patterns::paint(place.user, begin, patterns::freed);
            patterns::paint(end, place.end(), patterns::freed);
            return;
        }
    }
    patterns::paint(place.user, place.user + std::min<std::size_t>(record.size, patterns::closed_bytes), patterns::freed);
}

template <class H>
void CheckedFront<H>::let_go_overdue(const Site& site, std::size_t limit) {
    const Occasion occasion{site, "when it left the quarantine"};
    if (limit == 0) quarantine::publish();
    while (quarantine::Batch* const batch = quarantine::overdue(limit)) {
        // These blocks were touched long ago: what they need is fetched a few blocks ahead.
        for (std::size_t i = 0; i < batch->count + look_ahead; ++i) {
            if (i < batch->count) prefetch(batch->blocks[i]);
            if (i >= look_ahead) let_go(occasion, batch->blocks[i - look_ahead]);
        }
        quarantine::recycle(batch);
    }
}

template <class H>
void CheckedFront<H>::prefetch(const Place& place) {
    mpmm::prefetch_to_write(place.record);
    mpmm::prefetch(H::shared.first_tenant(place.low));
    for (const std::byte* line = place.low; line < place.high && line < place.low + prefetched_bytes; line += G::line) mpmm::prefetch(line);
}

template <class H>
void CheckedFront<H>::let_go(const Occasion& occasion, const Place& place) {
    if (!place.record->take(BlockState::quarantined)) return;
    poison::show(place, true);
    check_freed(occasion, place);
    check_redzones(occasion, place, true);
    AllocRecord& record = *place.record;
    race_edges::take(place.user);
    each_chunk(place, &race_edges::leave);
    if (record.closed != 0) {
        std::byte* const begin = closed_begin(place);
        if (!os::protect(begin, static_cast<std::size_t>(closed_end(place) - begin), true)) {
            // Refused, for memory that can be written counts: its addresses are lost, which costs none.
            record.put(BlockState::quarantined);
            return;
        }
        closed_blocks_.fetch_sub(1, relaxed);
        record.closed = 0;
    }
    const bool large = static_cast<std::size_t>(place.high - place.low) > H::Classes::max_size;
    if (!large) {
        record.put(BlockState::freed);
        H::free(place.low);
        return;
    }
    const Guard guard(large_lock_);
    FreedLarge& last = freed_large_[next_freed_large_++ % freed_large_count];
    last = {place.user, facts_of(place, true)};
    record.put(BlockState::freed);
    H::free(place.low);
}

/// Memory is used again in other pieces than before: its edges go by chunk.
template <class H>
void CheckedFront<H>::each_chunk(const Place& place, void (*edge)(void* what)) {
    if (!race_edges::on()) return;
    if (place.guarded) return edge(place.low);
    const auto first = reinterpret_cast<std::uintptr_t>(place.low), end = reinterpret_cast<std::uintptr_t>(place.high);
    for (std::uintptr_t chunk = align_down(first, G::chunk); chunk < end; chunk += G::chunk) edge(reinterpret_cast<void*>(chunk));
}

// ---- realloc ----

/// Changes the size without moving the block, as far as the heap's block reaches or can be made to.
template <class H>
bool CheckedFront<H>::grow_in_place(const Place& place, std::size_t size) {
    if (place.guarded) return false;
    const std::size_t front = place.record->front(), redzone = options::bytes(options::redzone_bytes), whole = front + size + redzone;
    const auto length = static_cast<std::size_t>(place.high - place.low);
    if (whole <= length && length <= H::Classes::max_size) return true;
    if (length <= H::Classes::max_size) return false;
    each_chunk(place, &race_edges::leave);
    {
        const Guard guard(large_lock_);
        if (H::realloc(place.low, whole, false) == nullptr) return false;
    }
    Place grown;
    if (race_edges::on() && find(place.low, grown)) each_chunk(grown, &race_edges::take);
    return true;
}

template <class H>
void* CheckedFront<H>::move_block(const Site& site, void* user, std::size_t size, std::size_t old_size, SizeIs size_is) {
    if (size > PTRDIFF_MAX / 2) return or_enomem(nullptr);
    const Inside inside;
    Place place;
    if (!take_live(site, user, place)) return no_block();
    AllocRecord& record = *place.record;
    if (record.family != Family::malloc) mismatched(site, place, report::Kind::alloc_dealloc_mismatch, "realloc", 0);
    else if (!size_fits(record, old_size, size_is)) mismatched(site, place, report::Kind::size_mismatch, nullptr, old_size);
    // Always to another place, so that stale pointers show; but a large block is too long to copy for that.
    const bool large = !place.guarded && static_cast<std::size_t>(place.high - place.low) > H::Classes::max_size;
    poison::show(place, false);
    if (large) {
        check_redzones({site, "when it was reallocated"}, place, false);
        if (size > H::Classes::max_size / 2 && grow_in_place(place, size)) {
            find(place.low, place);
            record.size = size;
            record.sequence = count_operation(site) & (all_ones >> 1);
            record.alloc_thread = verify_threads::number();
            record.alloc_stack = store_stack(site);
            poison::show(place, false);
            patterns::fill_redzones(place);
            poison::hide(place, false);
            record.put(BlockState::live);
            if (trace::on()) trace::add(trace::Operation::realloc, record.sequence, user, size, user);
            return user;
        }
    }
    void* const moved = allocate(site, Family::malloc, size, natural_alignment(size), false, Source::anywhere, user);
    if (moved == nullptr) {
        poison::hide(place, false);
        record.put(BlockState::live);
        return nullptr;
    }
    std::memcpy(moved, user, std::min<std::size_t>(size, record.size));
    retire(site, place);
    return moved;
}

template <class H>
bool CheckedFront<H>::resize_block(const Site& site, void* user, std::size_t old_size, std::size_t size) {
    const Inside inside;
    Place place;
    if (user == nullptr || size > PTRDIFF_MAX / 2 || !take_live(site, user, place)) return false;
    AllocRecord& record = *place.record;
    if (!size_fits(record, old_size, SizeIs::given)) mismatched(site, place, report::Kind::size_mismatch, nullptr, old_size);
    poison::show(place, false);
    check_redzones({site, "when it was resized"}, place, false);
    // A longer block would promise its alignment.
    const bool aligned = size <= record.size || is_aligned(reinterpret_cast<std::uintptr_t>(user), natural_alignment(size));
    const bool done = aligned && grow_in_place(place, size);
    if (done) {
        find(place.low, place);
        record.size = size;
        poison::show(place, false);
        patterns::fill_redzones(place);
    }
    poison::hide(place, false);
    record.put(BlockState::live);
    return done;
}

}  // namespace mpmm
