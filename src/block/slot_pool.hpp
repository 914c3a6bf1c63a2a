// SPDX-License-Identifier: Apache-2.0
// Chunks cut into equal slots, and the pool that hands slots to block allocators. One pool per slot size and kind.
//
//     in persistent memory:  | slot bits | SlotChunk | BlockAllocator 0 | BlockAllocator 1 | …     (detached)
//                            | slot bits | SlotChunk |                                              (intrusive)
// The chunk map's entry of a detached chunk leads to the array, that of an intrusive one to the SlotChunk.
//
// Records are type-stable: a pool reuses them for its next chunk. A slot that comes back keeps its pages for the purge delay (bits: dirty,
// and aged when it was dirty at the last pass already); a chunk whose slots are all free returns to the large cache. One lock per pool.
//
// Chunks of intrusive block allocators stay in their pool, with their pages purged: a thread that published a remote free reads the header
// once more to see whether to wake the owner, and by then the owner may have given the slot back. The header must still be one, or zero.
#pragma once

#include "block/block_allocator.hpp"
#include "block/tenant_map.hpp"
#include "largecache/large_cache.hpp"

namespace mpmm {

template <class C>
class alignas(tenant_alignment) SlotChunk : public Tenant {
  public:
    using Block = BlockAllocator<C>;

    Extent extent;
    SlotChunk* previous = nullptr;  ///< in the list of chunks with free slots
    SlotChunk* next = nullptr;
    SlotChunk* all_previous = nullptr;
    SlotChunk* all_next = nullptr;
    std::uint64_t* free_bits = nullptr;
    std::uint64_t* dirty_bits = nullptr;
    std::uint64_t* aged_bits = nullptr;
    std::uint32_t slots = 0, free_slots = 0;
    std::uint8_t slot_shift = 0;
    bool intrusive = false;
    bool idle = false;  ///< all slots were free at the last purge pass

    unsigned bit_words() const { return (slots + 63) / 64; }
    std::byte* slot(std::size_t index) const { return extent.base + (index << slot_shift); }
    std::size_t slot_index(const void* address) const {
        return static_cast<std::size_t>(static_cast<const std::byte*>(address) - extent.base) >> slot_shift;
    }
    bool is_free(std::size_t index) const { return (free_bits[index / 64] >> (index % 64) & 1) != 0; }
    /// What the chunk map says about this chunk.
    auto entry() const {
        using Entries = TenantEntries<typename C::Geometry>;
        return intrusive ? Entries::whole(this) : Entries::slots(this + 1, sizeof(Block), extent.base, slot_shift);
    }
    /// The tenant of an address in an intrusive chunk.
    [[gnu::always_inline]] Tenant* intrusive_tenant(const void* address) const {
        return reinterpret_cast<Tenant*>(
            intrusive_header(reinterpret_cast<std::uintptr_t>(address) >> slot_shift << slot_shift, slot_shift));
    }
    /// Where the block allocator of a slot is.
    Block* block(std::size_t index) {
        if (intrusive) return reinterpret_cast<Block*>(intrusive_header(reinterpret_cast<std::uintptr_t>(slot(index)), slot_shift));
        return reinterpret_cast<Block*>(this + 1) + index;
    }
};

template <class C>
class SlotPool {
    friend Inspector<C>;
    using G = typename C::Geometry;
    using Entries = TenantEntries<G>;
    using Chunk = SlotChunk<C>;
    using Block = BlockAllocator<C>;
    using Shape = typename SizeClasses<G>::Shape;

  public:
    constexpr SlotPool() = default;

    /// A block allocator of the class, all blocks free, an orphan on no list; nullptr when out of memory.
    Block* acquire(Persistent<G>& memory, LargeCache<C>& large, TenantMap<G>& map, const Shape& shape, unsigned index) {
        const Guard guard(lock_);
        if (usable_ == nullptr && !add_chunk(memory, large, map, shape)) return nullptr;
        Chunk* const chunk = usable_;
        const std::size_t slot = lowest_slot(*chunk);
        Block* const block = chunk->block(slot);
        if (!C::Verify::prepare(*block, memory, shape.intrusive)) return nullptr;
        const std::uint64_t bit = std::uint64_t{1} << (slot % 64);
        const bool clean = (chunk->dirty_bits[slot / 64] & bit) == 0;
        chunk->free_bits[slot / 64] &= ~bit;
        chunk->dirty_bits[slot / 64] &= ~bit;
        chunk->aged_bits[slot / 64] &= ~bit;
        chunk->idle = false;
        if (--chunk->free_slots == 0) unlink(chunk);
        // An intrusive header is not constructed again: it is zero or one of an earlier life, which a remote free may still be looking at.
        // create() sets every member but the owner word.
        block->create(shape, index, chunk->slot(slot), chunk, clean);
        // Under the lock, so that fork's child finds no used slot that reads as unused; there it stays nobody's. relaxed: the thread that asked
        // says next that it is the owner, with release.
        C::Verify::owner_is(*block, Owner(OwnerState::orphan).word());
        block->owner_word.store(Owner(OwnerState::orphan).word(), relaxed);
        return block;
    }

    /// Takes back a block allocator whose blocks are all free.
    void put_back(LargeCache<C>& large, TenantMap<G>& map, Block& block) {
        C::Verify::given_back(block);
        Chunk* const chunk = block.chunk;
        const std::size_t slot = chunk->slot_index(block.base);
        const Guard guard(lock_);
        block.set_owner(Owner(OwnerState::unused));
        const std::uint64_t bit = std::uint64_t{1} << (slot % 64);
        chunk->free_bits[slot / 64] |= bit;
        chunk->dirty_bits[slot / 64] |= bit;
        if (chunk->free_slots++ == 0) link(chunk);
        if (may_leave(*chunk) && (usable_ != chunk || chunk->next != nullptr)) drop_chunk(large, map, chunk);
    }

    /// Purges slots that were free at the last pass already (all when `now`), and returns empty chunks. Bytes purged.
    std::size_t purge(Backend& backend, LargeCache<C>& large, TenantMap<G>& map, bool now) {
        const Guard guard(lock_);
        std::size_t purged = 0;
        for (Chunk *chunk = usable_, *next = nullptr; chunk != nullptr; chunk = next) {
            next = chunk->next;
            if (may_leave(*chunk) && (now || chunk->idle)) {
                drop_chunk(large, map, chunk);
                continue;
            }
            chunk->idle = chunk->free_slots == chunk->slots;
            for (unsigned w = 0; w < chunk->bit_words(); ++w) purged += purge_word(backend, *chunk, w, now);
        }
        return purged;
    }

    /// Calls visit(block allocator) for every one in use, under the lock.
    template <class Visit>
    void for_each(Visit visit) {
        const Guard guard(lock_);
        for (Chunk* chunk = all_; chunk != nullptr; chunk = chunk->all_next)
            for (std::size_t i = 0; i < chunk->slots; ++i)
                if (!chunk->is_free(i)) visit(*chunk->block(i));
    }
    /// Calls visit(chunk) for every chunk, under the lock.
    template <class Visit>
    void for_each_chunk(Visit visit) {
        const Guard guard(lock_);
        for (Chunk* chunk = all_; chunk != nullptr; chunk = chunk->all_next) visit(*chunk);
    }
    Mutex& lock() { return lock_; }

  private:
    static bool may_leave(const Chunk& chunk) { return chunk.free_slots == chunk.slots && !chunk.intrusive; }
    static std::size_t lowest_slot(const Chunk& chunk) {
        unsigned w = 0;
        while (chunk.free_bits[w] == 0) ++w;
        return w * 64 + static_cast<unsigned>(std::countr_zero(chunk.free_bits[w]));
    }
    void link(Chunk* chunk) {
        chunk->previous = nullptr;
        chunk->next = usable_;
        if (usable_ != nullptr) usable_->previous = chunk;
        usable_ = chunk;
    }
    void unlink(Chunk* chunk) {
        (chunk->previous != nullptr ? chunk->previous->next : usable_) = chunk->next;
        if (chunk->next != nullptr) chunk->next->previous = chunk->previous;
    }
    Chunk* new_record(Persistent<G>& memory, const Shape& shape) {
        if (Chunk* const chunk = spare_; chunk != nullptr) {
            spare_ = chunk->all_next;
            return chunk;
        }
        const auto slots = static_cast<std::uint32_t>(G::chunk >> shape.slot_shift);
        const std::size_t bits = (slots + 63) / 64 * sizeof(std::uint64_t), before = align_up(3 * bits, alignof(Chunk));
        const std::size_t blocks = shape.intrusive ? 0 : slots * sizeof(Block);
        auto* const raw = static_cast<std::byte*>(memory.allocate(before + sizeof(Chunk) + blocks, alignof(Chunk)));
        if (raw == nullptr) return nullptr;
        auto* const chunk = ::new (static_cast<void*>(raw + before)) Chunk;
        chunk->free_bits = reinterpret_cast<std::uint64_t*>(raw);
        chunk->dirty_bits = chunk->free_bits + bits / 8;
        chunk->aged_bits = chunk->dirty_bits + bits / 8;
        chunk->slots = slots;
        chunk->slot_shift = shape.slot_shift;
        chunk->intrusive = shape.intrusive;
        // relaxed, here and in add_chunk(): the chunk map shows the record, and its entries are stored with release.
        if (shape.intrusive) chunk->owner_word.store(Owner(OwnerState::intrusive).word(), relaxed);
        return chunk;
    }
    bool add_chunk(Persistent<G>& memory, LargeCache<C>& large, TenantMap<G>& map, const Shape& shape) {
        Chunk* const chunk = new_record(memory, shape);
        if (chunk == nullptr) return false;
        if (!large.take(1, chunk->extent)) {
            chunk->all_next = spare_;
            spare_ = chunk;
            return false;
        }
        for (unsigned w = 0; w < chunk->bit_words(); ++w) {
            chunk->free_bits[w] = bit_range(0, std::min(64u, chunk->slots - w * 64));
            chunk->dirty_bits[w] = chunk->extent.clean ? 0 : chunk->free_bits[w];
            chunk->aged_bits[w] = 0;
        }
        // Memory that is not zero holds something where intrusive headers will be looked for: they must read as unused.
        if (chunk->intrusive && !large.reads_zero(chunk->extent))
            for (std::size_t i = 0; i < chunk->slots; ++i) chunk->block(i)->owner_word.store(0, relaxed);
        chunk->free_slots = chunk->slots;
        chunk->idle = false;
        chunk->all_previous = nullptr;
        chunk->all_next = all_;
        if (all_ != nullptr) all_->all_previous = chunk;
        all_ = chunk;
        link(chunk);
        map.set(chunk->extent.base, chunk->entry());
        return true;
    }
    void drop_chunk(LargeCache<C>& large, TenantMap<G>& map, Chunk* chunk) {
        unlink(chunk);
        (chunk->all_previous != nullptr ? chunk->all_previous->all_next : all_) = chunk->all_next;
        if (chunk->all_next != nullptr) chunk->all_next->all_previous = chunk->all_previous;
        map.set(chunk->extent.base, Entries::none());
        chunk->extent.clean = true;
        for (unsigned w = 0; w < chunk->bit_words(); ++w) chunk->extent.clean = chunk->extent.clean && chunk->dirty_bits[w] == 0;
        large.give(chunk->extent);
        chunk->all_next = spare_;
        spare_ = chunk;
    }
    std::size_t purge_word(Backend& backend, Chunk& chunk, unsigned w, bool now) {
        // The headers of free intrusive slots must go on reading as unused.
        if (chunk.intrusive && !backend.purged_is_zero()) return 0;
        const std::size_t page = os::whole_page<G>();
        std::size_t purged = 0;
        const std::uint64_t free_dirty = chunk.free_bits[w] & chunk.dirty_bits[w];
        for_each_run(free_dirty & (now ? all_ones : chunk.aged_bits[w]), [&](unsigned first, unsigned count) {
            // Slots may be smaller than a page: only those whose pages all go are clean afterwards.
            const std::size_t start = std::size_t{w * 64 + first} << chunk.slot_shift,
                              end = start + (std::size_t{count} << chunk.slot_shift);
            const std::size_t from = align_up(start, page), to = align_down(end, page);
            if (from >= to || !backend.purge(chunk.extent.base + from, to - from)) return;
            purged += to - from;
            chunk.dirty_bits[w] &=
                ~bit_range(static_cast<unsigned>((from >> chunk.slot_shift) % 64), static_cast<unsigned>((to - from) >> chunk.slot_shift));
        });
        chunk.aged_bits[w] = chunk.free_bits[w] & chunk.dirty_bits[w];
        return purged;
    }

    Mutex lock_;
    Chunk* usable_ = nullptr;  // with at least one free slot
    Chunk* all_ = nullptr;
    Chunk* spare_ = nullptr;
};

}  // namespace mpmm
