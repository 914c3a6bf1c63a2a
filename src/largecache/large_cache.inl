// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "platform/os.hpp"

#include <algorithm>
#include <cstring>
#include <iterator>

namespace mpmm {

template <class C>
void LargeCache<C>::insert_free(const Extent& extent, std::uint64_t now) {
    Run* const run = new_run();
    if (run == nullptr) {
        // Not even a descriptor left: the addresses go back, or are forgotten; either way nobody else sees them.
        backend_.deallocate(extent.base, extent.chunks * G::chunk);
        return;
    }
    run->extent = extent;
    run->since = now;
    run->size = 0;
    run->huge = false;
    run->owner_word.store(Owner(OwnerState::large_free).word(), release);
    link(run);
    tag(extent, Entries::whole(run));
}

template <class C>
Run* LargeCache<C>::free_neighbour(const std::byte* address, const Extent& of) {
    const auto entry = map_.find(address);
    if (!Entries::is_whole(entry)) return nullptr;
    Tenant* const tenant = Entries::template tenant<tenant_alignment>(entry, address);
    if (tenant->owner() != Owner(OwnerState::large_free)) return nullptr;
    auto* const run = static_cast<Run*>(tenant);
    return backend_.mergeable() || run->extent.origin == of.origin ? run : nullptr;
}

template <class C>
void LargeCache<C>::give_locked(Extent extent) {
    const std::uint64_t now = os::now_ms();
    if (Run* const left = free_neighbour(extent.base - 1, extent); left != nullptr) {
        const Extent other = remove_free(left);
        extent = {other.base, other.chunks + extent.chunks, other.origin, other.clean && extent.clean};
    }
    if (Run* const right = free_neighbour(extent.base + extent.chunks * G::chunk, extent); right != nullptr) {
        const Extent other = remove_free(right);
        extent.chunks += other.chunks;
        extent.clean = extent.clean && other.clean;
    }
    insert_free(extent, now);
}

template <class C>
Run* LargeCache<C>::best_fit(std::size_t chunks) {
    for (std::size_t n = chunks; n < list_count; ++n)
        if (lists_[n] != nullptr) return lists_[n];
    Run* best = nullptr;
    for (Run* run = lists_[0]; run != nullptr; run = run->next)
        if (run->extent.chunks >= chunks && (best == nullptr || run->extent.chunks < best->extent.chunks)) best = run;
    return best;
}

template <class C>
bool LargeCache<C>::already_ours(const Extent& extent) {
    for (std::size_t i = 0; i < extent.chunks; ++i)
        if (map_.find(extent.base + i * G::chunk) != Entries::none()) return true;
    if (backend_.is_system()) return false;
    if (memory_.overlaps(extent.base, extent.chunks * G::chunk)) return true;
    return run_around(extent.base) != nullptr;
}

template <class C>
std::size_t LargeCache<C>::used_size(const std::byte* chunk) {
    const Guard guard(lock_);
    const auto entry = map_.find(chunk);
    if (!Entries::is_whole(entry)) return 0;
    Tenant* const tenant = Entries::template tenant<tenant_alignment>(entry, chunk);
    return tenant->owner().state() == OwnerState::large_used ? static_cast<const Run*>(tenant)->size : 0;
}

/// The map shows runs at their ends only: inside one, the nearest entry before is its beginning.
template <class C>
Run* LargeCache<C>::run_around(const std::byte* address) const {
    auto entry = Entries::none();
    std::byte* const first = map_.find_back(address, entry);
    if (first == nullptr || !Entries::is_whole(entry)) return nullptr;
    Tenant* const tenant = Entries::template tenant<tenant_alignment>(entry, first);
    const OwnerState state = tenant->owner().state();
    if (state != OwnerState::large_used && state != OwnerState::large_free) return nullptr;
    auto* const run = static_cast<Run*>(tenant);
    return address < run->extent.base + run->extent.chunks * G::chunk ? run : nullptr;
}

template <class C>
bool LargeCache<C>::fresh(std::size_t size, std::size_t alignment, Extent& extent) {
    auto* const base = static_cast<std::byte*>(backend_.allocate(size, alignment));
    if (base == nullptr) return false;
    extent = {base, (size + G::chunk - 1) / G::chunk, ++allocations_, backend_.fresh_is_zero()};
    if (already_ours(extent)) {
        report::backend_misbehaved("returned memory that is already in use", base, size);
        backend_.forget(size);
        return false;
    }
    if (map_.reserve(base, extent.chunks)) return true;
    backend_.deallocate(base, size);
    return false;
}

template <class C>
bool LargeCache<C>::take_locked(std::size_t chunks, Extent& extent) {
    if (Run* const run = best_fit(chunks); run != nullptr) {
        extent = remove_free(run);
        if (extent.chunks > chunks) {
            insert_free({extent.base + chunks * G::chunk, extent.chunks - chunks, extent.origin, extent.clean}, os::now_ms());
            extent.chunks = chunks;
        }
        return true;
    }
    return fresh(chunks * G::chunk, G::chunk, extent);
}

template <class C>
bool LargeCache<C>::take(std::size_t chunks, Extent& extent) {
    const Guard guard(lock_);
    return take_locked(chunks, extent);
}

template <class C>
void LargeCache<C>::give(const Extent& extent) {
    const Guard guard(lock_);
    give_locked(extent);
}

template <class C>
void* LargeCache<C>::allocate(std::size_t size, std::size_t alignment, bool zero) {
    if (size > PTRDIFF_MAX - 2 * G::chunk || alignment > PTRDIFF_MAX / 2) return nullptr;
    size = align_up(size == 0 ? 1 : size, os::whole_page<G>());
    const std::size_t chunks = (size + G::chunk - 1) / G::chunk;
    bool huge = chunks >= huge_chunks || alignment > G::chunk;
    Run* run = nullptr;
    {
        const Guard guard(lock_);
        run = new_run();
        if (run == nullptr) return nullptr;
        Extent extent;
        bool found = huge ? fresh(size, alignment > G::chunk ? alignment : G::chunk, extent) : take_locked(chunks, extent);
        if (!found && huge && alignment <= G::chunk && best_fit(chunks) != nullptr) {
            // A long free run serves when the backend does not.
            huge = false;
            found = take_locked(chunks, extent);
        }
        if (!found) {
            drop_run(run);
            return nullptr;
        }
        run->extent = extent;
        run->size = size;
        run->huge = huge;
        run->owner_word.store(Owner(OwnerState::large_used).word(), release);
        map_.set(extent.base, Entries::whole(run));
        for (const void*& freed : lately_)
            if (freed == extent.base) freed = nullptr;
        used_bytes_.fetch_add(size, relaxed);
        used_blocks_.fetch_add(1, relaxed);
    }
    std::byte* const base = run->extent.base;
    if (zero && !reads_zero(run->extent)) std::memset(base, 0, size);
    return base;
}

template <class C>
std::size_t LargeCache<C>::free(Run& run, const void* address) {
    // Under the lock from the start: a run that reads as free is in a list, and whoever frees its neighbour takes it from there.
    const Guard guard(lock_);
    if (run.owner(relaxed) != Owner(OwnerState::large_used)) {
        report::user_error(report::Kind::double_free, address);
        return 0;
    }
    if (address != run.extent.base) {
        report::user_error(report::Kind::invalid_free, address);
        return 0;
    }
    run.owner_word.store(Owner(OwnerState::large_free).word(), release);
    Extent extent = run.extent;
    const std::size_t size = run.size;
    map_.set(extent.base, Entries::none());
    used_bytes_.fetch_sub(size, relaxed);
    used_blocks_.fetch_sub(1, relaxed);
    lately_[next_lately_++ % std::size(lately_)] = address;
    const bool huge = run.huge;
    drop_run(&run);
    if (!huge) {
        extent.clean = false;
        give_locked(extent);
    } else if (!backend_.deallocate(extent.base, size)) {
        // Ours for good: its whole chunks are a free run from now on, and what sticks out is purged.
        extent.chunks = size / G::chunk;
        extent.clean = false;
        if (const std::size_t whole = extent.chunks * G::chunk; whole != size) backend_.purge(extent.base + whole, size - whole);
        if (extent.chunks != 0) give_locked(extent);
    }
    return size;
}

template <class C>
bool LargeCache<C>::resize(Run& run, std::size_t size) {
    if (size > PTRDIFF_MAX - 2 * G::chunk) return false;
    size = align_up(size == 0 ? 1 : size, os::whole_page<G>());
    const Guard guard(lock_);
    if (size == run.size) return true;
    if (run.huge) {
        const std::size_t chunks = (size + G::chunk - 1) / G::chunk;
        if (!backend_.resize(run.extent.base, run.size, size)) return false;
        run.extent.chunks = chunks;
    } else {
        const std::size_t chunks = (size + G::chunk - 1) / G::chunk;
        if (chunks > run.extent.chunks) return false;
        if (chunks < run.extent.chunks) {
            Extent tail = run.extent;
            tail.base += chunks * G::chunk;
            tail.chunks -= chunks;
            tail.clean = false;
            run.extent.chunks = chunks;
            give_locked(tail);
        }
        // What a shrunken block no longer uses of its last chunk is worth returning when it is more than a few pages.
        const std::size_t cut = run.size < chunks * G::chunk ? run.size : chunks * G::chunk;
        if (cut > size + 16 * G::page) backend_.purge(run.extent.base + size, cut - size);
    }
    used_bytes_.fetch_add(size - run.size, relaxed);
    run.size = size;
    return true;
}

template <class C>
void* LargeCache<C>::grow_by_moving(Run& run, std::size_t size) {
    if (!backend_.can_move() || size > PTRDIFF_MAX - 2 * G::chunk) return nullptr;
    size = align_up(size, os::whole_page<G>());
    const Guard guard(lock_);
    const std::size_t chunks = (size + G::chunk - 1) / G::chunk;
    const std::size_t mapped = chunks >= huge_chunks ? size : chunks * G::chunk;
    Extent to;
    if (!fresh(mapped, G::chunk, to)) return nullptr;
    const Extent from = run.extent;
    const std::size_t old_size = run.size;
    if (!backend_.move(from.base, old_size, to.base, mapped)) return nullptr;
    map_.set(from.base, Entries::none());
    if (!run.huge && from.chunks * G::chunk != old_size) backend_.deallocate(from.base + old_size, from.chunks * G::chunk - old_size);
    run.extent = to;
    run.extent.clean = false;
    run.huge = chunks >= huge_chunks;
    run.size = size;
    map_.set(to.base, Entries::whole(&run));
    used_bytes_.fetch_add(size - old_size, relaxed);
    return to.base;
}

template <class C>
std::size_t LargeCache<C>::give_back(Run* run, std::size_t chunks) {
    const std::uint64_t since = run->since;
    Extent extent = remove_free(run);
    const std::size_t size = chunks * G::chunk;
    const bool taken = backend_.deallocate(extent.base + (extent.chunks - chunks) * G::chunk, size);
    if (taken) extent.chunks -= chunks;
    if (extent.chunks != 0) insert_free(extent, taken ? since : os::now_ms());
    return taken ? size : 0;
}

template <class C>
std::size_t LargeCache<C>::purge(std::uint64_t now, std::uint64_t delay) {
    const Guard guard(lock_);
    std::size_t purged = 0;
    for (Run*& head : lists_) {
        for (Run *run = head, *next = nullptr; run != nullptr; run = next) {
            next = run->next;
            // Not a difference: another thread may have freed the run after `now`.
            if (now < run->since + delay) continue;
            const std::size_t size = run->extent.chunks * G::chunk;
            if (!run->extent.clean && backend_.purge(run->extent.base, size)) {
                run->extent.clean = true;
                run->since = now;
                purged += size;
            } else if (delay != 0 && now >= run->since + release_delays * delay) {
                give_back(run, run->extent.chunks);
            }
        }
    }
    return purged;
}

template <class C>
std::size_t LargeCache<C>::trim(std::size_t keep) {
    const Guard guard(lock_);
    std::size_t released = 0;
    for (Run*& head : lists_) {
        for (Run *run = head, *next = nullptr; run != nullptr; run = next) {
            next = run->next;
            const std::size_t cached = cached_.load(relaxed), spare = cached > keep ? (cached - keep) / G::chunk : 0;
            if (spare == 0) return released;
            released += give_back(run, std::min(spare, run->extent.chunks));
        }
    }
    return released;
}

}  // namespace mpmm
