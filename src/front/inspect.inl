// SPDX-License-Identifier: Apache-2.0
// Looking into the heap as the program sees it: what waits in the quarantine is free, and a block is as long as was asked for.
#pragma once

namespace mpmm {

template <class H>
template <class Visit>
void CheckedFront<H>::for_each(Visit visit) {
    const Inside inside;
    const auto visit_block = [](void* block, std::size_t, void* context) {
        Place place;
        if (find(block, place)) (*static_cast<Visit*>(context))(place);
        return 0;
    };
    {
        // Large blocks must not go away meanwhile; block allocators cannot, the walk holds their pool's lock.
        const Guard guard(large_lock_);
        H::walk(visit_block, &visit);
    }
    guarded::for_each([](void* context, const Place& place) { (*static_cast<Visit*>(context))(place); }, &visit);
}

template <class H>
template <class Look>
void CheckedFront<H>::hold(const Place& found, BlockState state, Look look) {
    AllocRecord& record = *found.record;
    if (!record.take(state, state == BlockState::live ? BlockState::inspected_live : BlockState::inspected_quarantined)) return;
    // It may have had another life since it was found: in another part of the same memory, or elsewhere, where a large block takes its record.
    Place place = found;
    if (found.guarded || (find(found.low, place) && place.record == &record)) {
        const bool freed = state != BlockState::live;
        poison::show(place, freed);
        look(place);
        poison::hide(place, freed);
    }
    record.put(state);
}

template <class H>
std::size_t CheckedFront<H>::usable_size(const void* block) {
    Place place;
    if (block == nullptr || !find(block, place) || place.user != block) return 0;
    return place.record->seen() == BlockState::live ? place.record->size : 0;
}

template <class H>
void CheckedFront<H>::stats(mpmm_stats& out) {
    H::stats(out);
    // Of the heap's used blocks the program holds some, and of those the requested bytes; the rest is free to it, or redzone.
    const std::size_t in_blocks = out.used_bytes - out.large_bytes + out.free_bytes;
    out.used_bytes = out.used_blocks = out.large_bytes = 0;
    for_each([&](const Place& found) {
        hold(found, BlockState::live, [&](const Place& place) {
            const std::size_t size = place.record->size;
            ++out.used_blocks;
            out.used_bytes += size;
            if (size > H::Classes::max_size) out.large_bytes += size;
        });
    });
    out.free_bytes = in_blocks - std::min(in_blocks, out.used_bytes - out.large_bytes);
}

template <class H>
int CheckedFront<H>::walk(mpmm_walk_callback callback, void* context) {
    int result = 0;
    for_each([&](const Place& found) {
        if (result != 0) return;
        hold(found, BlockState::live, [&](const Place& place) { result = callback(place.user, place.record->size, context); });
    });
    return result;
}

template <class H>
mpmm_address_info CheckedFront<H>::describe(const void* address) {
    Place place;
    mpmm_address_info info{};
    if (!find(address, place)) {
        info = H::describe(address);
        if (guarded::contains(address)) info.kind = MPMM_ADDRESS_UNUSED;
        return info;
    }
    const auto* const where = static_cast<const std::byte*>(address);
    const BlockState state = place.record->seen();
    info.kind = MPMM_ADDRESS_UNUSED;
    // A block of no bytes is found by its address.
    const bool inside = where >= place.user && (where < place.end() || where == place.user);
    if (state == BlockState::unused) {
        info = H::describe(address);
        if (info.kind == MPMM_ADDRESS_LIVE) info.kind = MPMM_ADDRESS_FREE;
    } else if (inside) {
        info.kind = state == BlockState::live ? MPMM_ADDRESS_LIVE : MPMM_ADDRESS_FREE;
        info.block = place.user;
        info.usable_size = place.record->size;
        info.offset = static_cast<std::size_t>(where - place.user);
    } else if (state != BlockState::live) {
        info.kind = MPMM_ADDRESS_FREE;
    }
    return info;
}

/// Damage is told when the walk is over and its locks are free: the program may use the heap while it dies of the report.
template <class H>
std::size_t CheckedFront<H>::check_all(const Occasion& occasion) {
    const Inside inside;
    std::size_t errors = H::verify();
    constexpr std::size_t most = 16;
    for (std::size_t count = most; count == most;) {
        Place damaged[most];
        count = 0;
        for_each([&](const Place& place) {
            if (count != most && !is_whole(place)) damaged[count++] = place;
        });
        for (std::size_t i = 0; i < count; ++i) errors += check_place(occasion, damaged[i]) ? 0 : 1;
    }
    return errors;
}

template <class H>
void CheckedFront<H>::finish() {
    if (ThreadNumber<Inside>::value != 0) return;
    options::load_environment();
    check_all({unwind::caller(), "at exit"});
    if (options::get(options::detect_leaks) == 0 || lost_threads_ || check_leaks(stack_at_exit(unwind::caller())) == 0) return;
    if (options::get(options::halt_on_error) == 0) return;
    const std::uint64_t code = options::get(options::exitcode);
    os::flush_output();
    os::exit_now(code != 0 ? static_cast<int>(code) : 23);
}

template <class H>
void CheckedFront<H>::start() {
    H::start();
    options::load_environment();
    const std::size_t mappings = os::max_mappings();
    most_closed_ = std::min<std::size_t>(mappings / 16, 4096);
    guarded::prepare(mappings);
    report::prepare();
    started_.store(true, relaxed);
    if (options::get(options::full_unwind) != 0) unwind::prepare_full();
    fault::install(&fault);
    // Our locks are held while the heap's are taken: so they are locked first, by the handler that was registered last.
    thread::at_fork(
        [] {
            large_lock_.lock();
            guarded::lock();
            quarantine::lock();
            stack_depot::lock();
        },
        [] {
            stack_depot::unlock();
            quarantine::unlock();
            guarded::unlock();
            large_lock_.unlock();
        },
        [] {
            stack_depot::reset_after_fork();
            quarantine::reset_after_fork();
            guarded::reset_after_fork();
            large_lock_.reset_after_fork();
            report::reset_after_fork();
            stop_world::reset_after_fork();
            fault::reset_after_fork();
            lost_threads_ = lost_threads_ || verify_threads::after_fork();
        });
}

}  // namespace mpmm
