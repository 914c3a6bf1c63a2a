// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "platform/os.hpp"
#include "verify/options.hpp"

#include <cerrno>
#include <cstring>

namespace mpmm {

/// A failed request's errno.
inline void* or_enomem(void* block) {
    if (block == nullptr) [[unlikely]]
        errno = ENOMEM;
    return block;
}
/// What a function answers that got an address which is no block, and reported it.
inline void* no_block() {
    errno = EINVAL;
    return nullptr;
}

// ---- caches and threads ----

template <class C>
auto Heap<C>::own_cache() -> Cache* {
    Cache* cache = current();
    if (!cache->is_empty_cache()) return cache;
    if (Slot::exited) return nullptr;
    options::load_environment();
    cache = registry_.acquire(shared);
    if (cache == nullptr) return nullptr;
    Slot::current = cache;
    if (!exit_hook_.arm(cache)) {
        // No hook: a cache would be lost with the thread. It works through the late cache instead.
        Slot::exited = true;
        release_cache();
        return nullptr;
    }
    return cache;
}

template <class C>
void Heap<C>::release_cache() {
    Cache* const cache = current();
    if (cache->is_empty_cache()) return;
    exit_hook_.disarm();
    Slot::current = Cache::empty();
    {
        const Hold hold(cache->record);
        cache->retire_cache();
    }
    registry_.put_back(cache);
}

template <class C>
void Heap<C>::thread_exit(void*) {
    Slot::exited = true;
    release_cache();
    C::Verify::thread_ends();
}

/// Looks at the clock and gives back what has been unused for long enough: first this thread's, then what is nobody's, the latter by one
/// thread at a time.
template <class C>
void Heap<C>::maintain(Cache* cache) {
    const std::uint64_t now = os::now_ms(), delay = options::get(options::decay_ms), half = delay / 2;
    if (cache != nullptr) cache->rearm(now);
    if (const std::size_t limit = options::bytes(options::cache_limit); shared.large.cached_bytes() > limit) shared.large.trim(limit);
    if (options::get(options::purge) == 0) return;
    if (cache != nullptr && now >= cache->last_purge + half) {
        if (cache->last_purge != 0) purge_held(*cache, delay == 0);
        cache->last_purge = now;
    }
    // relaxed: it only chooses who does it.
    std::uint64_t last = shared.last_purge.load(relaxed);
    if (now >= last + half && shared.last_purge.compare_exchange_strong(last, now, relaxed, relaxed)) purge_shared(now, delay);
}

// ---- allocation ----

template <class C>
void* Heap<C>::malloc_slow(std::size_t size) {
    if (size <= Classes::max_size) {
        const unsigned index = Classes::of(size);
        if (size > Classes::direct_max)
            if (void* block = nullptr; current()->bin(index).take(block, current()->latest))
                return current()->beat() ? heartbeat(block) : block;
        if constexpr (!C::Verify::enabled)
            if (void* block = nullptr; current()->go_on(index, block)) return current()->beat() ? heartbeat(block) : block;
        bool clean = false;
        return malloc_class(index, clean);
    }
    return malloc_large(size, 1, false);
}

template <class C>
void* Heap<C>::malloc_class(unsigned index, bool& clean) {
    Cache* const cache = own_cache();
    if (cache == nullptr) return malloc_late(index);
    if (cache->beat_slow()) maintain(cache);
    void* block = allocate_held(*cache, index);
    if (block == nullptr) [[unlikely]] {
        reclaim();
        block = allocate_held(*cache, index);
    }
    clean = cache->last_was_clean();
    return or_enomem(block);
}

/// For threads past their end, or without a cache: one cache for all of them. Its blocks are freed like those of any other thread.
template <class C>
void* Heap<C>::malloc_late(unsigned index) {
    const Guard guard(late_lock_);
    if (late_cache_ == nullptr) late_cache_ = registry_.acquire(shared);
    if (late_cache_ == nullptr) return or_enomem(nullptr);
    if (void* block = nullptr; late_cache_->bin(index).take(block, late_cache_->latest)) return block;
    return or_enomem(allocate_held(*late_cache_, index));
}

template <class C>
void* Heap<C>::malloc_large(std::size_t size, std::size_t alignment, bool zero) {
    options::load_environment();
    void* block = shared.large.allocate(size, alignment, zero);
    if (block == nullptr && size <= PTRDIFF_MAX) [[unlikely]] {
        reclaim();
        block = shared.large.allocate(size, alignment, zero);
    }
    maintain(current()->is_empty_cache() ? nullptr : current());
    return or_enomem(block);
}

template <class C>
void Heap<C>::reclaim() {
    if (Cache* const cache = current(); !cache->is_empty_cache()) purge_held(*cache, true);
    purge_shared(os::now_ms(), 0);
    shared.large.trim(0);
}

template <class C>
void* Heap<C>::zalloc(std::size_t size) {
    if (size > Classes::max_size) return malloc_large(size, 1, true);
    const unsigned index = Classes::of(size);
    if (Shared<C>::shapes[index].checked()) {
        bool clean = false;
        void* const block = malloc_class(index, clean);
        if (block != nullptr && !(clean && zero_when_clean())) std::memset(block, 0, size);
        return block;
    }
    void* const block = malloc(size);
    if (block != nullptr) std::memset(block, 0, size);
    return block;
}

template <class C>
void* Heap<C>::aligned(std::size_t alignment, std::size_t size, bool zero) {
    if (size > PTRDIFF_MAX || alignment > PTRDIFF_MAX / 2) return or_enomem(nullptr);
    const std::size_t least = size > alignment ? size : alignment;
    if (const std::size_t class_size = aligned_size(alignment, least); class_size != 0)
        return zero ? zalloc(class_size) : malloc(class_size);
    return malloc_large(size, alignment, zero);
}

/// Blocks lie at multiples of their size in a slot that is aligned to more than that.
template <class C>
std::size_t Heap<C>::aligned_size(std::size_t alignment, std::size_t least) {
    if (least > Classes::max_size) return 0;
    for (unsigned index = Classes::of(least); index < Classes::count; ++index)
        if (Classes::size_of(index) % alignment == 0) return Classes::size_of(index);
    return 0;
}

template <class C>
void* Heap<C>::tcache_malloc(std::size_t size) {
    Cache* const cache = own_cache();
    if (cache == nullptr || size > Classes::max_size) return or_enomem(nullptr);
    const unsigned index = Classes::of(size);
    if (void* block = nullptr; cache->bin(index).take(block, cache->latest)) return cache->beat() ? heartbeat(block) : block;
    return or_enomem(allocate_held(*cache, index, false));
}

template <class C>
void* Heap<C>::large_malloc(std::size_t size) {
    return malloc_large(size, 1, false);
}

// ---- batches ----

template <class C>
std::size_t Heap<C>::malloc_batch(std::size_t size, std::size_t count, void** blocks) {
    std::size_t done = 0;
    while (done != count) {
        if (size <= Classes::direct_max) {
            const std::size_t some = current()->direct_bin(size).take_some(blocks + done, count - done);
            if (some != 0 && current()->beat(some)) maintain(current());
            if ((done += some) == count) break;
        }
        if ((blocks[done] = malloc(size)) == nullptr) break;
        ++done;
    }
    return done;
}

template <class C>
void Heap<C>::free_batch(std::size_t count, void* const* blocks) {
    while (count != 0) {
        bool full = false;
        Tenant* const tenant = shared.first_tenant(*blocks);
        std::size_t some = current()->free_some(tenant, blocks, count, full);
        if (full) word_became_full(*blocks, tenant);
        if (some == 0) {
            free(*blocks);
            some = 1;
        }
        blocks += some;
        count -= some;
    }
}

// ---- free ----

template <class C>
void Heap<C>::free_slow(void* address, Tenant* tenant) {
    if (address == nullptr) return;
    switch (tenant->owner().state()) {
        case OwnerState::large_used:
        case OwnerState::large_free: free_large(*static_cast<Run*>(tenant), address); return;
        case OwnerState::foreign:
        case OwnerState::unused: report_unknown(tenant, address); return;
        default: break;
    }
    // A thread that only frees gets a cache too, for the buffer that combines its frees.
    Cache* const cache = own_cache();
    {
        Cache* const by = cache != nullptr ? cache : Cache::empty();
        const Hold hold(by->record);
        by->free_slow(*static_cast<Block*>(tenant), address);
    }
    if (cache != nullptr && cache->beat_slow()) maintain(cache);
}

template <class C>
void Heap<C>::free_large(Run& run, void* address) {
    shared.large.free(run, address);
    maintain(current()->is_empty_cache() ? nullptr : current());
}

template <class C>
void Heap<C>::report_unknown(Tenant* tenant, const void* address) {
    bool was_block = false;
    if (tenant->owner().state() == OwnerState::foreign) {
        was_block = shared.large.freed_lately(address);
    } else if (auto& block = *static_cast<Block*>(tenant); block.base != nullptr && block.size != 0) {
        // The block allocator's last life: its slot was given back because all its blocks were free.
        was_block = block.find(address).exact;
    }
    report::user_error(was_block ? report::Kind::double_free : report::Kind::invalid_free, address);
}

// ---- realloc, sizes ----

template <class C>
auto Heap<C>::live_block(Tenant* tenant, const void* address) -> Block* {
    const OwnerState state = tenant->owner().state();
    if (state == OwnerState::foreign || state == OwnerState::unused) {
        report_unknown(tenant, address);
        return nullptr;
    }
    auto* const block = static_cast<Block*>(tenant);
    const auto [index, exact] = block->find(address);
    if (!exact) {
        report::user_error(report::Kind::invalid_free, address);
        return nullptr;
    }
    const std::uint64_t bit = std::uint64_t{1} << (index % 64);
    if (((block->free_word(index / 64) | block->remote_map[index / 64].load(relaxed)) & bit) != 0) {
        report::user_error(report::Kind::double_free, address);
        return nullptr;
    }
    return block;
}

template <class C>
void* Heap<C>::realloc(void* address, std::size_t size, bool moved_ok) {
    if (size > PTRDIFF_MAX) return or_enomem(nullptr);
    Tenant* const tenant = shared.locate(address);
    const OwnerState state = tenant->owner().state();
    std::size_t usable = 0;
    if (state == OwnerState::large_used || state == OwnerState::large_free) {
        auto& run = *static_cast<Run*>(tenant);
        if (state == OwnerState::large_free || address != run.extent.base) {
            report::user_error(state == OwnerState::large_free ? report::Kind::double_free : report::Kind::invalid_free, address);
            return no_block();
        }
        usable = run.size;
        if ((size > Classes::max_size || !moved_ok) && shared.large.resize(run, size)) return address;
        if (!moved_ok) return nullptr;
        if (size > usable)
            if (void* const moved = shared.large.grow_by_moving(run, size); moved != nullptr) return moved;
    } else {
        Block* const block = live_block(tenant, address);
        if (block == nullptr) return no_block();
        usable = block->size;
        // Shrinking keeps the block until half of it is unused; then a smaller one is worth the copy.
        if (size <= usable && (!moved_ok || size > usable / 2 || usable <= 32)) return address;
        if (!moved_ok) return nullptr;
    }
    void* const moved = malloc(size);
    if (moved == nullptr) return nullptr;
    std::memcpy(moved, address, size < usable ? size : usable);
    free(address);
    return moved;
}

template <class C>
std::size_t Heap<C>::usable_size(const void* address) {
    if (address == nullptr) return 0;
    const mpmm_address_info info = describe(address);
    return info.kind == MPMM_ADDRESS_LIVE && info.offset == 0 ? info.usable_size : 0;
}

template <class C>
std::size_t Heap<C>::round_size(std::size_t size) {
    if (size > PTRDIFF_MAX) return 0;
    return size <= Classes::max_size ? Classes::size_of(Classes::of(size)) : align_up(size, os::whole_page<G>());
}

// ---- memory back ----

template <class C>
void Heap<C>::flush() {
    Cache* const cache = current();
    if (cache->is_empty_cache()) return;
    const Hold hold(cache->record);
    cache->flush();
}

template <class C>
std::size_t Heap<C>::purge() {
    std::size_t purged = 0;
    if (Cache* const cache = current(); !cache->is_empty_cache()) purged += purge_held(*cache, true);
    {
        const Guard guard(late_lock_);
        if (late_cache_ != nullptr) purged += purge_held(*late_cache_, true);
    }
    return purged + purge_shared(os::now_ms(), 0);
}

/// What no running thread looks after: the recovered lists of threads that do not come by, and everything without an owner.
template <class C>
std::size_t Heap<C>::purge_shared(std::uint64_t now, std::uint64_t delay) {
    std::size_t purged = 0;
    registry_.for_each([&](Cache& cache) { purged += cache.purge_recovered(delay == 0); });
    if (delay != 0 && late_lock_.try_lock()) {
        if (late_cache_ != nullptr) purged += purge_held(*late_cache_, false);
        late_lock_.unlock();
    }
    const Hold hold(Cache::empty()->record);
    return purged + shared.purge(now, delay);
}

template <class C>
bool Heap<C>::trim(std::size_t keep) {
    const std::size_t purged = purge();
    return shared.large.trim(keep) + purged != 0;
}

// ---- fork ----

template <class C>
void Heap<C>::before_fork() {
    // In the order of tcache/shared.hpp.
    late_lock_.lock();
    registry_.lock().lock();
    registry_.for_each_lock([](Mutex& lock) { lock.lock(); });
    shared.for_each_lock([](Mutex& lock) { lock.lock(); });
}

template <class C>
void Heap<C>::after_fork_parent() {
    shared.for_each_lock([](Mutex& lock) { lock.unlock(); });
    registry_.for_each_lock([](Mutex& lock) { lock.unlock(); });
    registry_.lock().unlock();
    late_lock_.unlock();
}

template <class C>
void Heap<C>::after_fork_child() {
    shared.for_each_lock([](Mutex& lock) { lock.reset_after_fork(); });
    registry_.for_each_lock([](Mutex& lock) { lock.reset_after_fork(); });
    registry_.lock().reset_after_fork();
    late_lock_.reset_after_fork();
    Cache* const own = current();
    registry_.after_fork(own, late_cache_);
    shared.for_each_block_allocator([](Block& block) { C::Verify::after_fork(block); });
}

}  // namespace mpmm
