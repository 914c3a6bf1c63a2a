// SPDX-License-Identifier: Apache-2.0
// Gathering what a report tells about a block.
#pragma once

#include "verify/place_name.hpp"

namespace mpmm {

template <class H>
report::BlockFacts CheckedFront<H>::facts_of(const Place& place, bool freed) {
    const AllocRecord& record = *place.record;
    return {place.user,
            record.size,
            record.family,
            freed,
            place.guarded,
            record.alloc_thread,
            record.free_thread,
            record.alloc_stack,
            freed ? record.free_stack : 0,
            record.sequence};
}

template <class H>
void CheckedFront<H>::describe_block(report::Error& error, const Place& place, bool freed) {
    error.has_block = true;
    error.block = facts_of(place, freed);
    if (place.guarded) return;
    Tenant* const tenant = H::shared.locate(place.low);
    if (!tenant->owner().is_block_allocator()) return;
    const auto& block = *static_cast<const Block*>(tenant);
    report::AllocatorFacts& facts = error.allocator;
    facts.allocator = &block;
    facts.base = block.base;
    facts.block_size = block.size;
    facts.blocks = block.blocks;
    facts.index = static_cast<unsigned>(static_cast<std::size_t>(place.low - block.base) / block.size);
    facts.words = std::min(block.used_words(), report::AllocatorFacts::max_words);
    facts.owner_word = block.owner_word.load(relaxed);
    facts.state = name_of(block.owner().state());
    for (unsigned w = 0; w < facts.words; ++w) {
        facts.free_map[w] = block.free_map[w].load(relaxed);
        facts.remote_map[w] = block.remote_map[w].load(relaxed);
    }
}

template <class H>
void CheckedFront<H>::mismatched(const Site& site, const Place& place, report::Kind kind, const char* freed_by, std::size_t size) {
    report::Error error;
    error.kind = kind;
    error.address = place.user;
    if (kind == report::Kind::size_mismatch)
        error.what.text("freed with a size of ").decimal(size).text(" bytes, allocated with ").decimal(place.record->size).text(" bytes");
    else error.what.text("freed by ").text(freed_by).text(", allocated by ").text(report::allocated_by(place.record->family));
    report::set_place(error, site);
    describe_block(error, place, false);
    report::error(error);
}

template <class H>
bool CheckedFront<H>::find_freed_large(const void* user, report::Error& error) {
    // In a signal handler the lock may be this thread's own: then the report goes without this.
    if (!large_lock_.try_lock()) return false;
    bool found = false;
    for (unsigned i = 1; i <= freed_large_count && !found; ++i) {
        const FreedLarge& freed = freed_large_[(next_freed_large_ - i) % freed_large_count];
        if (freed.user != user || user == nullptr) continue;
        error.has_block = true;
        error.block = freed.facts;
        found = true;
    }
    large_lock_.unlock();
    return found;
}

template <class H>
void CheckedFront<H>::bad_free(const Site& site, const void* user, const Place* place) {
    report::Error error;
    error.address = user;
    const BlockState state = place == nullptr ? BlockState::unused : place->record->seen();
    const bool freed = state == BlockState::quarantined || state == BlockState::freed || state == BlockState::busy;
    report::set_place(error, site);
    if (place != nullptr && state != BlockState::unused) {
        describe_block(error, *place, freed);
        // Freed or about to be by another thread, at this moment.
        error.kind = place->user == user ? report::Kind::double_free : report::Kind::invalid_free;
        if (place->user == user) error.what.text("the block was freed already");
        else if (static_cast<const std::byte*>(user) < place->user) error.what.text("the address is before the block that it belongs to");
        else error.what.text("the address is inside of a block, not at its start");
    } else if (find_freed_large(user, error)) {
        error.kind = report::Kind::double_free;
        error.what.text("the block was freed already");
    } else {
        error.kind = report::Kind::invalid_free;
        report::name_place(error.what.text("the address is "), user, site.sp);
        if (H::describe(user).kind != MPMM_ADDRESS_FOREIGN) error.what.text(", the heap's, but no block of it");
    }
    report::error(error);
}

template <class H>
void CheckedFront<H>::damaged(const Occasion& occasion, const Place& place, bool freed, report::Kind kind, const std::byte* first,
                              const std::byte* begin, const std::byte* end, unsigned char value) {
    report::Error error;
    error.kind = kind;
    error.address = first;
    report::Dump& dump = error.dump;
    dump.bad_begin = patterns::mismatch(begin, end, value);
    dump.bad_end = end;
    while (dump.bad_end > dump.bad_begin + 1 && static_cast<unsigned char>(dump.bad_end[-1]) == value) --dump.bad_end;
    // The pages of a closed block cannot be read.
    const std::byte *low = place.low, *high = place.high;
    if (place.record->closed != 0)
        (dump.bad_begin < closed_begin(place) ? high : low) =
            dump.bad_begin < closed_begin(place) ? closed_begin(place) : closed_end(place);
    dump.begin = dump.bad_begin - low > 32 ? dump.bad_begin - 32 : low;
    dump.end = high - dump.bad_begin > 96 ? dump.bad_begin + 96 : high;
    dump.bad_end = std::min(dump.bad_end, dump.end);
    const auto count = static_cast<std::uint64_t>(dump.bad_end - dump.bad_begin);
    switch (kind) {
        case report::Kind::heap_buffer_overflow: error.what.text("written behind the end of the block"); break;
        case report::Kind::heap_buffer_underflow: error.what.text("written before the start of the block"); break;
        default: error.what.text("written to after it was freed"); break;
    }
    error.what.text(", found ").text(occasion.when).text("; ").decimal(count).text(" byte(s) from offset ");
    if (dump.bad_begin < place.user) error.what.text("-").decimal(static_cast<std::uint64_t>(place.user - dump.bad_begin));
    else error.what.decimal(static_cast<std::uint64_t>(dump.bad_begin - place.user));
    error.what.text(" on");
    report::set_place(error, occasion.site);
    describe_block(error, place, freed);
    report::error(error);
}

template <class H>
bool CheckedFront<H>::check_redzones(const Occasion& occasion, const Place& place, bool freed) {
    const std::byte *const before = patterns::damaged_front(place), *const behind = patterns::damaged_rear(place);
    if (before == nullptr && behind == nullptr) [[likely]]
        return true;
    // Both at once is the work of a wild write; the first is told.
    if (behind != nullptr)
        damaged(occasion, place, freed, report::Kind::heap_buffer_overflow, behind, place.end(), patterns::rear_end(place), patterns::rear);
    else
        damaged(occasion, place, freed, report::Kind::heap_buffer_underflow, before, patterns::front_begin(place), place.user,
                patterns::front);
    patterns::fill_redzones(place);
    return false;
}

/// Calls check(begin, end) for what is readable of a freed block's filling, until one call returns false. True when none did.
template <class H>
template <class Check>
bool CheckedFront<H>::all_of_freed(const Place& place, Check check) {
    const std::byte* const filled = place.user + std::min<std::size_t>(place.record->size, patterns::closed_bytes);
    if (place.record->closed == 0) return check(place.user, filled);
    return check(place.user, closed_begin(place)) && check(closed_end(place), place.end());
}

template <class H>
bool CheckedFront<H>::check_freed(const Occasion& occasion, const Place& place) {
    return all_of_freed(place, [&](std::byte* begin, const std::byte* end) {
        const std::byte* const first = patterns::mismatch(begin, end, patterns::freed);
        if (first == end) return true;
        damaged(occasion, place, true, report::Kind::heap_use_after_free, first, begin, end, patterns::freed);
        patterns::paint(begin, end, patterns::freed);
        return false;
    });
}

/// Whether check_place() would find nothing.
template <class H>
bool CheckedFront<H>::is_whole(const Place& found) {
    bool whole = true;
    const BlockState state = found.record->seen();
    const bool freed = state == BlockState::quarantined;
    if (freed || state == BlockState::live)
        hold(found, state, [&](const Place& place) {
            whole = patterns::damaged_front(place) == nullptr && patterns::damaged_rear(place) == nullptr &&
                    (!freed || all_of_freed(place, [](const std::byte* begin, const std::byte* end) {
                        return patterns::mismatch(begin, end, patterns::freed) == end;
                    }));
        });
    return whole;
}

/// One block, beside running threads.
template <class H>
bool CheckedFront<H>::check_place(const Occasion& occasion, const Place& found) {
    bool good = true;
    const BlockState state = found.record->seen();
    const bool freed = state == BlockState::quarantined;
    if (freed || state == BlockState::live)
        hold(found, state,
             [&](const Place& place) { good = check_redzones(occasion, place, freed) && (!freed || check_freed(occasion, place)); });
    return good;
}

/// A fault of the processor; true when it was an error of the program that is told now, and the program may go on.
template <class H>
bool CheckedFront<H>::fault(const void* address, fault::Access access, const void* context) {
    if (reinterpret_cast<std::uintptr_t>(address) < 65536) return false;
    Place place;
    if (!find(address, place)) return false;
    const auto* const where = static_cast<const std::byte*>(address);
    const BlockState state = place.record->seen();
    // The stack may be a signal stack of a few KiB.
    const report::Reporting reporting;
    static constinit report::Error error;
    if (reporting.nested()) return false;
    error = report::Error{};
    error.address = address;
    if (place.guarded) {
        const bool inside = where >= place.user && where < place.end();
        if (state == BlockState::live && inside) return false;
        error.kind = state != BlockState::live ? report::Kind::heap_use_after_free
                     : where < place.user      ? report::Kind::heap_buffer_underflow
                                               : report::Kind::heap_buffer_overflow;
    } else {
        if (state != BlockState::quarantined || place.record->closed == 0 || where < closed_begin(place) || where >= closed_end(place))
            return false;
        error.kind = report::Kind::heap_use_after_free;
    }
    error.what.text(access == fault::Access::write     ? "WRITE at "
                    : access == fault::Access::execute ? "CALL of "
                                                       : "READ at ")
        .address(address)
        .text(place.guarded ? ", guarded block" : ", freed block");
    report::set_place(error, unwind::interrupted(context), true);
    describe_block(error, place, state != BlockState::live);
    report::error(error, reporting);
    // What is called can only fail again.
    const std::size_t page = os::whole_page<G>();
    auto* const start = reinterpret_cast<void*>(align_down(reinterpret_cast<std::uintptr_t>(address), page));
    return access != fault::Access::execute && os::protect(start, page, true);
}

}  // namespace mpmm
