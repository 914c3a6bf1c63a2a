// SPDX-License-Identifier: Apache-2.0
// What all thread caches of a heap share: the layers below, and the block allocators whose thread is gone.
//
// Lock order: late < caches < verify's lock of each cache < recovered lists < orphans < slot pool < large cache < chunk map < persistent <
// backend. A holder takes only later ones.
#pragma once

#include "block/slot_pool.hpp"

#include <utility>

namespace mpmm {

/// Block allocators of one class without an owner, for any thread to adopt. The lock orders everything; the list's head is atomic, and
/// relaxed, for the look whether there is anything at all.
template <class C>
class OrphanList {
    friend Inspector<C>;
    using Block = BlockAllocator<C>;

  public:
    void push(Block* block) {
        const Guard guard(lock_);
        C::Verify::listed(*block, true);
        block->next = head_.load(relaxed);
        head_.store(block, relaxed);
    }
    /// One orphan, or nullptr. A look without the lock first: mostly there is none.
    Block* pop() {
        if (head_.load(relaxed) == nullptr) return nullptr;
        const Guard guard(lock_);
        Block* const block = head_.load(relaxed);
        if (block == nullptr) return nullptr;
        head_.store(block->next, relaxed);
        block->next = nullptr;
        C::Verify::listed(*block, false);
        return block;
    }
    /// Calls keep(block) for each under the lock; those for which it is false leave the list, and then gone(block) is called.
    template <class Keep, class Gone>
    void filter(Keep keep, Gone gone) {
        if (head_.load(relaxed) == nullptr) return;
        const Guard guard(lock_);
        Block *block = head_.load(relaxed), *kept = nullptr;
        while (block != nullptr) {
            Block* const next = block->next;
            if (keep(*block)) {
                block->next = kept;
                kept = block;
            } else {
                block->next = nullptr;
                C::Verify::listed(*block, false);
                gone(*block);
            }
            block = next;
        }
        head_.store(kept, relaxed);
    }
    Mutex& lock() { return lock_; }

  private:
    Mutex lock_;
    Atomic<Block*> head_{nullptr};
};

template <class C>
struct Shared {
    using G = typename C::Geometry;
    using Classes = SizeClasses<G>;
    using Block = BlockAllocator<C>;
    static_assert(Classes::proved());

    static constexpr auto shapes = Classes::shapes(C::intrusive_max);
    static constexpr unsigned min_shift = shapes[0].slot_shift, shift_count = G::chunk_shift - min_shift + 1;

    TenantMap<G> map{memory};  // first: every free indexes its root
    Backend backend;
    Persistent<G> memory{backend};
    LargeCache<C> large{backend, memory, map};
    SlotPool<C> pools[2][shift_count];
    OrphanList<C> orphans[Classes::count];
    Atomic<std::uint64_t> last_purge{0};

    SlotPool<C>& pool_of(bool intrusive, unsigned slot_shift) { return pools[intrusive ? 1 : 0][slot_shift - min_shift]; }

    Block* new_block_allocator(unsigned index) {
        const auto& shape = shapes[index];
        return pool_of(shape.intrusive, shape.slot_shift).acquire(memory, large, map, shape, index);
    }
    void release(Block& block) { pool_of(block.chunk->intrusive, block.chunk->slot_shift).put_back(large, map, block); }
    /// Makes a block allocator that the caller owns anybody's; an empty one goes back to its pool instead.
    void abandon(Block& block) {
        block.drain();
        if (block.all_free()) {
            release(block);
            return;
        }
        block.set_owner(Owner(OwnerState::orphan));
        orphans[block.class_index].push(&block);
    }

    /// The way from an address to its tenant. The first step gives the chunk's record for intrusive block allocators.
    [[gnu::always_inline]] Tenant* first_tenant(const void* address) const {
        return TenantEntries<G>::template tenant<sizeof(Block)>(map.find(address), address);
    }
    Tenant* locate(const void* address) const {
        Tenant* const tenant = first_tenant(address);
        if (tenant->owner(relaxed) != Owner(OwnerState::intrusive)) return tenant;
        return static_cast<SlotChunk<C>*>(tenant)->intrusive_tenant(address);
    }

    template <class Visit>
    void for_each_block_allocator(Visit visit) {
        for (auto& kind : pools)
            for (auto& pool : kind) pool.for_each(visit);
    }

    /// One pass over everything without an owner. `delay` 0: purge all that is unused. Bytes purged.
    std::size_t purge(std::uint64_t now, std::uint64_t delay) {
        std::size_t purged = 0;
        for (auto& list : orphans)
            list.filter(
                [&](Block& block) {
                    block.drain();
                    if (block.all_free()) return false;
                    purged += block.purge(backend, delay == 0);
                    return true;
                },
                [&](Block& block) { release(block); });
        for (auto& kind : pools)
            for (auto& pool : kind) purged += pool.purge(backend, large, map, delay == 0);
        return purged + large.purge(now, delay);
    }

    /// Every lock, in order, for fork.
    template <class Visit>
    void for_each_lock(Visit visit) {
        for (auto& list : orphans) visit(list.lock());
        for (auto& kind : pools)
            for (auto& pool : kind) visit(pool.lock());
        visit(large.lock());
        visit(map.lock());
        visit(memory.lock());
    }
};

}  // namespace mpmm
