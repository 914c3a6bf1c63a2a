// SPDX-License-Identifier: Apache-2.0
// Checks of where memory is: the large cache's free runs, the pools' chunks, and the chunk map over both.
#pragma once

namespace mpmm {

template <class C>
void HeapCheck<C>::large_cache() {
    std::size_t bytes = 0;
    for (std::size_t list = 0; list < I::run_lists; ++list) {
        const Run* previous = nullptr;
        // A list whose links point back has no cycle.
        for (const Run* run = I::runs(list); run != nullptr; previous = run, run = run->next) {
            if (!holds(invariant::run_pointer, run, readable(run))) return;
            if (!expect(invariant::run_links, run, static_cast<const void*>(run->previous), static_cast<const void*>(previous))) return;
            if (!expect(invariant::free_run_owner, run, run->owner().word(), Owner(OwnerState::large_free).word())) return;
            if (!expect(invariant::run_list, run, run->extent.chunks == 0 ? I::run_lists : I::list_of(run->extent.chunks), list)) return;
            free_run(*run);
            bytes += run->extent.chunks * G::chunk;
        }
    }
    expect(invariant::cached_sum, &H::shared.large, I::cached().load(relaxed), bytes);
}

template <class C>
void HeapCheck<C>::free_run(const Run& run) {
    const auto entry_at = [&](std::size_t i) { return static_cast<const void*>(H::shared.map.find(run.extent.base + i * G::chunk)); };
    const void *const own = Entries::whole(&run), *const none = Entries::none();
    if (!expect(invariant::free_run_first, &run, entry_at(0), own)) return;
    if (!expect(invariant::free_run_last, &run, entry_at(run.extent.chunks - 1), own)) return;
    for (std::size_t i = 1; i + 1 < run.extent.chunks; ++i)
        if (!expect(invariant::free_run_inside, &run, entry_at(i), none)) return;
}

template <class C>
void HeapCheck<C>::pools() {
    for (unsigned kind = 0; kind < 2; ++kind) {
        for (unsigned i = 0; i < Shared<C>::shift_count; ++i) {
            SlotPool<C>& pool = H::shared.pools[kind][i];
            std::size_t usable = 0, found = 0;
            const Chunk* previous = nullptr;
            for (Chunk* chunk = I::all(pool); chunk != nullptr; previous = chunk, chunk = chunk->all_next) {
                if (!holds(invariant::chunk_pointer, chunk, readable(chunk))) return;
                const void *const back = chunk->all_previous, *const before = previous;
                if (!expect(invariant::chunk_links, chunk, back, before)) return;
                this->chunk(*chunk, pool, kind == 1, Shared<C>::min_shift + i);
                if (findings_.count() != 0) return;
                usable += chunk->free_slots != 0;
            }
            previous = nullptr;
            for (const Chunk* chunk = I::usable(pool); chunk != nullptr; previous = chunk, chunk = chunk->next, ++found) {
                if (!holds(invariant::chunk_pointer, chunk, readable(chunk))) return;
                const void *const back = chunk->previous, *const before = previous;
                if (!expect(invariant::chunk_links, chunk, back, before)) return;
                if (!holds(invariant::chunk_usable, chunk, chunk->free_slots != 0)) return;
            }
            if (!expect(invariant::chunk_usable, &pool, found, usable)) return;
        }
    }
}

template <class C>
void HeapCheck<C>::chunk(Chunk& chunk, SlotPool<C>&, bool intrusive, unsigned slot_shift) {
    const bool right_kind = chunk.intrusive == intrusive && chunk.slot_shift == slot_shift && chunk.slots == G::chunk >> slot_shift;
    if (!holds(invariant::chunk_pointer, &chunk, right_kind)) return;
    const void *const entry = H::shared.map.find(chunk.extent.base), *const own = chunk.entry();
    if (!expect(invariant::chunk_entry, &chunk, entry, own)) return;
    std::size_t free_slots = 0;
    for (unsigned w = 0; w < chunk.bit_words(); ++w) {
        const std::uint64_t free = chunk.free_bits[w], dirty = chunk.dirty_bits[w],
                            slots = bit_range(0, std::min(64u, chunk.slots - w * 64));
        if (!expect(invariant::slot_bits, &chunk, (free & ~slots) | (dirty & ~free) | (chunk.aged_bits[w] & ~free), std::uint64_t{0}))
            return;
        free_slots += count_ones(free);
    }
    if (!expect(invariant::free_slots_counted, &chunk, std::size_t{chunk.free_slots}, free_slots)) return;
    for (std::size_t i = 0; i < chunk.slots; ++i) {
        Block* const block = chunk.block(i);
        // The owner word, before anybody follows the block allocator's pointers.
        const Owner owner = block->owner();
        if (chunk.is_free(i)) {
            if (!expect(invariant::free_slot_unowned, block, owner.word(), std::uintptr_t{0})) return;
        } else if (!holds(invariant::legal_owner, block, owner.is_block_allocator())) {
            return;
        }
    }
}

/// Whether a live descriptor stands behind the map's entry; says which, and what it covers.
template <class C>
bool HeapCheck<C>::covers(std::byte* chunk, typename Entries::Entry entry, const Tenant*& tenant, Extent& extent) {
    if (!Entries::is_whole(entry)) {
        const Tenant* const first = Entries::template tenant<sizeof(Block)>(entry, chunk);
        const auto* const record = reinterpret_cast<const Chunk*>(first) - 1;
        // The pools were checked: a chunk whose own entry this is and whose neighbour in the pool's list points at it is one of theirs.
        if (!readable(record)) return false;
        tenant = record;
        extent = record->extent;
        return !record->intrusive && record->entry() == entry && H::shared.map.find(record->extent.base) == entry;
    }
    const Tenant* const whole = Entries::template tenant<tenant_alignment>(entry, chunk);
    if (!readable(whole)) return false;
    tenant = whole;
    switch (whole->owner().state()) {
        case OwnerState::intrusive: {
            const auto* const record = static_cast<const Chunk*>(whole);
            extent = record->extent;
            return readable(record) && record->intrusive;
        }
        case OwnerState::large_used:
        case OwnerState::large_free: extent = static_cast<const Run*>(whole)->extent; return readable(static_cast<const Run*>(whole));
        default: return false;
    }
}

template <class C>
void HeapCheck<C>::map() {
    std::size_t chunks = 0, free_tags = 0;
    bool going = true;
    H::shared.map.for_each([&](std::byte* chunk, auto entry) {
        if (!going) return;
        const Tenant* tenant = nullptr;
        Extent extent;
        going = false;
        if (!holds(invariant::entry_tenant, entry, covers(chunk, entry, tenant, extent))) return;
        const bool run = Entries::is_whole(entry) && tenant->owner().state() != OwnerState::intrusive;
        const bool free = run && tenant->owner().state() == OwnerState::large_free;
        const std::byte* const last = extent.base + (extent.chunks - 1) * G::chunk;
        if (!holds(invariant::entry_covers, tenant, extent.chunks != 0 && (chunk == extent.base || (free && chunk == last)))) return;
        if (chunk == extent.base) {
            // The map goes through the addresses upwards.
            if (!holds(invariant::runs_disjoint, tenant, reinterpret_cast<std::uintptr_t>(chunk) >= end_)) return;
            end_ = reinterpret_cast<std::uintptr_t>(last) + G::chunk;
            if (run && !free) {
                used_bytes_ += static_cast<const Run*>(tenant)->size;
                ++used_blocks_;
                const std::size_t size = static_cast<const Run*>(tenant)->size;
                if (!holds(invariant::entry_covers, tenant, size <= extent.chunks * G::chunk)) return;
            }
            chunks += run ? 0 : 1;
            free_tags += free ? extent.chunks : 0;
        }
        going = true;
    });
    if (!going) return;
    // Every chunk of a pool has its entry, as the pools' check saw: as many here means that no entry leads to a chunk of no pool.
    std::size_t pooled = 0;
    for (auto& kind : H::shared.pools)
        for (auto& pool : kind)
            for (const Chunk* chunk = I::all(pool); chunk != nullptr; chunk = chunk->all_next) ++pooled;
    if (!expect(invariant::entry_tenant, &H::shared.map, chunks, pooled)) return;
    if (!expect(invariant::entry_tenant, &H::shared.map, free_tags * G::chunk, I::cached().load(relaxed))) return;
    if (!expect(invariant::used_blocks, &H::shared.large, I::used_blocks().load(relaxed), used_blocks_)) return;
    expect(invariant::used_bytes, &H::shared.large, I::used_bytes().load(relaxed), used_bytes_);
}

}  // namespace mpmm
