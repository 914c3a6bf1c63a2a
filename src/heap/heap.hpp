// SPDX-License-Identifier: Apache-2.0
// The heap: what the APIs call. One per Config type, static, usable before main and after it, without a constructor or destructor.
//
// malloc and free are a few instructions on the current thread's cache; everything else is out of line. A thread gets its cache at its
// first slow path and gives it up at its end; what it does after that (destructors that run late) goes through one shared cache under a
// lock. Out of memory is nullptr and ENOMEM, after unused memory was given back and the request tried again.
#pragma once

#include "heap/config.hpp"
#include "mpmm/mpmm.h"
#include "platform/thread.hpp"
#include "tcache/cache_registry.hpp"

namespace mpmm {

template <class C>
class Heap {
    friend Inspector<C>;

  public:
    using G = typename C::Geometry;
    using Classes = SizeClasses<G>;
    using Cache = ThreadCache<C>;
    using Block = BlockAllocator<C>;
    using LargeRun = Run;

    [[gnu::always_inline]] static void* malloc(std::size_t size) {
        Cache* const cache = current();
        if (size <= Classes::direct_max) [[likely]] {
            Bin<C>& bin = cache->direct_bin(size);
            if (void* block = nullptr; bin.take(block, cache->latest)) [[likely]] {
                if (!cache->beat()) [[likely]]
                    return block;
                return heartbeat(block);
            }
        }
        return malloc_slow(size);
    }
    [[gnu::always_inline]] static void free(void* address) {
        if (const auto freed = current()->free_latest(address); freed != Cache::Freed::not_here) {
            if (freed == Cache::Freed::done) [[likely]]
                return;
            return word_became_full(address, nullptr);
        }
        free_in<false, OwnerState::active, &Heap::free_other>(address, shared.first_tenant(address));
    }

    /// The first `size` bytes are zero.
    static void* zalloc(std::size_t size);
    /// `alignment` is a power of two.
    static void* aligned(std::size_t alignment, std::size_t size, bool zero);
    /// The size of the smallest class of at least `least` bytes whose blocks are aligned so; 0 when there is none.
    static std::size_t aligned_size(std::size_t alignment, std::size_t least);
    /// Moves or resizes; `block` is not null and `size` may be 0. nullptr leaves `block` as it was. `moved_ok` false: only in place.
    static void* realloc(void* block, std::size_t size, bool moved_ok);
    /// 0 for what is no live block's start.
    static std::size_t usable_size(const void* block);
    static std::size_t round_size(std::size_t size);
    static void* tcache_malloc(std::size_t size);
    static void* large_malloc(std::size_t size);
    /// How many there was memory for.
    static std::size_t malloc_batch(std::size_t size, std::size_t count, void** blocks);
    static void free_batch(std::size_t count, void* const* blocks);

    /// The calling thread's cache, made when it has none; nullptr when it cannot have one.
    static Cache* own_cache();
    static void release_cache();
    static void flush();
    static std::size_t purge();
    static bool trim(std::size_t keep);

    // heap/inspect.inl
    static void stats(mpmm_stats& out);
    static int walk(mpmm_walk_callback callback, void* context);
    static mpmm_address_info describe(const void* address);
    /// Checks every invariant and reports what is broken; other threads may run meanwhile. The number of broken ones.
    static std::size_t verify();

    /// Registers the fork and thread-exit handlers. Once, early: of all fork handlers ours should run last before the fork and first after.
    static void start() {
        thread::at_fork(&before_fork, &after_fork_parent, &after_fork_child);
        exit_hook_.prepare();
    }

    static inline constinit Shared<C> shared{};

  private:
    /// Fork handlers; the first takes every lock.
    static void before_fork();
    static void after_fork_parent();
    static void after_fork_child();
    using Slot = ThreadSlot<Cache>;
    /// Around everything that changes more of a cache than the bitmaps: verify looks at caches in between.
    using Hold = typename C::Verify::Hold;

    [[gnu::always_inline]] static Cache* current() { return Slot::current; }
    template <bool Intrusive, OwnerState State, auto Otherwise>
    [[gnu::always_inline]] static void free_in(void* address, Tenant* tenant) {
        const auto freed = current()->template free_own<Intrusive, State>(address, tenant);
        if (freed == Cache::Freed::done) [[likely]]
            return;
        if (State == OwnerState::active && freed == Cache::Freed::word_full) return word_became_full(address, tenant);
        if (State == OwnerState::full && freed == Cache::Freed::woken) return wake_own(address, tenant);
        return Otherwise(address, tenant);
    }
    // Where a free goes that is not of an active, detached block allocator of this cache: full, then another cache's, then intrusive, then
    // everything else.
    [[gnu::noinline]] static void free_other(void* address, Tenant* tenant) {
        free_in<false, OwnerState::full, &Heap::free_foreign>(address, tenant);
    }
    [[gnu::noinline]] static void free_foreign(void* address, Tenant* tenant) {
        const auto freed = current()->free_foreign(address, tenant);
        if (freed == Cache::Freed::done) [[likely]]
            return;
        if (freed == Cache::Freed::overflow) return relieve();
        free_intrusive(address, tenant);
    }
    [[gnu::noinline]] static void free_intrusive(void* address, Tenant* tenant) {
        if (tenant->owner(relaxed) != Owner(OwnerState::intrusive)) return free_slow(address, tenant);
        tenant = static_cast<SlotChunk<C>*>(tenant)->intrusive_tenant(address);
        free_in<true, OwnerState::active, &Heap::free_slow>(address, tenant);
    }
    [[gnu::noinline]] static void relieve() {
        {
            const Hold hold(current()->record);
            current()->relieve();
        }
        maintain(current());
    }
    [[gnu::noinline]] static void wake_own(void*, Tenant* tenant) {
        const Hold hold(current()->record);
        current()->wake_own(*static_cast<Block*>(tenant));
    }
    [[gnu::noinline]] static void word_became_full(void*, Tenant* tenant) {
        const Hold hold(current()->record);
        current()->word_became_full(static_cast<Block*>(tenant));
    }
    /// allocate_slow() of a cache that is the caller's to use.
    static void* allocate_held(Cache& cache, unsigned index, bool may_grow = true) {
        const Hold hold(cache.record);
        return cache.allocate_slow(index, may_grow);
    }
    static std::size_t purge_held(Cache& cache, bool now) {
        const Hold hold(cache.record);
        return cache.purge(now);
    }
    [[gnu::noinline]] static void* malloc_slow(std::size_t size);
    [[gnu::noinline]] static void* heartbeat(void* block) {
        maintain(current());
        return block;
    }
    [[gnu::noinline]] static void free_slow(void* address, Tenant* tenant);
    static void* malloc_class(unsigned index, bool& clean);
    static void* malloc_late(unsigned index);
    static void* malloc_large(std::size_t size, std::size_t alignment, bool zero);
    static void free_large(Run& run, void* address);
    [[gnu::cold]] static void report_unknown(Tenant* tenant, const void* address);
    /// Gives back what nobody uses, for a request that failed.
    [[gnu::cold]] static void reclaim();
    static void maintain(Cache* cache);
    static std::size_t purge_shared(std::uint64_t now, std::uint64_t delay);
    static void thread_exit(void* cache);
    /// The block allocator `address` is a live block's start in, with the block's index; reports otherwise.
    static Block* live_block(Tenant* tenant, const void* address);
    static bool zero_when_clean() { return shared.backend.fresh_is_zero() && shared.backend.purged_is_zero(); }

    static inline constinit thread::ExitHook exit_hook_{&Heap::thread_exit};
    static inline constinit CacheRegistry<C> registry_{};
    static inline constinit Mutex late_lock_{};
    static inline constinit Cache* late_cache_ = nullptr;
};

}  // namespace mpmm

#include "heap/heap.inl"
#include "heap/inspect.inl"
#include "heap/check.hpp"
