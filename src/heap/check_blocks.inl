// SPDX-License-Identifier: Apache-2.0
// Checks of who has which block: the caches' bins, lists and buffers, the orphans, and every block allocator's maps.
#pragma once

namespace mpmm {

/// Whether `block`, found on `list`, is a block allocator in use. Counts the places it is found in.
template <class C>
bool HeapCheck<C>::listed_block(const void* list, Block* block) {
    if (!holds(invariant::list_pointer, list, readable(block) && H::shared.locate(block->base) == static_cast<Tenant*>(block)))
        return false;
    if constexpr (recorded) {
        // A list that leads to a block allocator twice may go round for ever.
        if (!expect(invariant::in_one_place, block, std::uint64_t{++block->record.found}, std::uint64_t{1})) return false;
    }
    return true;
}

template <class C>
bool HeapCheck<C>::is_registered(const Cache* cache) {
    bool found = false;
    for_each_cache([&](const Cache& other) { found = found || &other == cache; });
    return found;
}

template <class C>
bool HeapCheck<C>::is_empty(Cache& cache) {
    bool empty = true;
    for (unsigned index = 0; index < Classes::count; ++index) {
        const Bin<C>& bin = I::bin(cache, index);
        const BlockList<C>& list = I::waiting(cache, index);
        empty = empty && bin.current == nullptr && bin.word == &ZeroWord::word && list.head == nullptr && list.tail == nullptr;
    }
    for (unsigned index = 0; index < I::combined_classes; ++index)
        for (std::size_t way = 0; way < I::combined_ways; ++way) empty = empty && I::combined(cache, index, way).mask.load(relaxed) == 0;
    return empty;
}

template <class C>
void HeapCheck<C>::caches() {
    for_each_block([](Block& block) {
        block.record.found = 0;
        block.record.found_in_bin = block.record.found_listed = false;
    });
    if (!expect(invariant::zero_word, &ZeroWord::word, ZeroWord::word.load(relaxed), std::uint64_t{0})) return;
    if (!holds(invariant::idle_cache, Cache::empty(), is_empty(*Cache::empty()))) return;
    std::size_t all = 0, lost = 0, idle = 0;
    for_each_cache([&](Cache& cache) {
        ++all;
        lost += cache.record.lost;
    });
    for (Cache* cache = I::idle_caches(); cache != nullptr && idle <= all; cache = cache->next_free, ++idle)
        if (!holds(invariant::idle_cache, cache, !cache->alive.load(relaxed) && is_empty(*cache))) return;
    if (!expect(invariant::caches_counted, &I::registry(), I::caches_in_use() + idle + lost, all)) return;
    for_each_cache([&](Cache& cache) {
        if (findings_.count() == 0 && !cache.record.lost) cache_alone(cache);
    });
}

template <class C>
void HeapCheck<C>::cache_alone(Cache& cache) {
    for (std::size_t step = 0; step < I::direct_steps; ++step) {
        const void *const found = I::direct(cache, step), *const expected = &I::bin(cache, Classes::of(step * 8));
        if (!expect(invariant::direct_table, &cache, found, expected)) return;
    }
    combined(cache);
    for (unsigned index = 0; index < Classes::count && findings_.count() == 0; ++index) {
        bin(cache, index);
        if (findings_.count() == 0) waiting(cache, index);
    }
    if (findings_.count() == 0) recovered(cache);
}

template <class C>
void HeapCheck<C>::bin(Cache& cache, unsigned index) {
    Bin<C>& bin = I::bin(cache, index);
    if (bin.current != nullptr) {
        if (!listed_block(&bin, bin.current)) return;
        Block& block = *bin.current;
        block.record.found_in_bin = true;
        if (!expect(invariant::list_class, &block, unsigned{block.class_index}, index)) return;
        if (!expect(invariant::bin_owner, &block, block.owner().word(), Owner(&cache, block.usable_state()).word())) return;
    }
    // Where the bin takes from, and whose blocks it says these are.
    if (bin.word == &ZeroWord::word) return;
    Block* from = bin.current;
    unsigned w = Block::words;
    if (from != nullptr)
        for (unsigned i = 0; i < from->used_words(); ++i)
            if (bin.word == &from->free_map[i]) w = i;
    if (w == Block::words && index < I::combined_classes) {
        for (std::size_t way = 0; way < I::combined_ways; ++way) {
            const auto& entry = I::combined(cache, index, way);
            if (bin.word != &entry.mask) continue;
            // An empty mask may outlive its block allocator, as the bin's aim at it may: nothing comes from there.
            if (entry.mask.load(relaxed) == 0) return;
            from = &entry.block();
            w = entry.word();
        }
    }
    holds(invariant::bin_word, &bin, w != Block::words && bin.base == from->address(w * 64) && bin.size == from->size);
}

template <class C>
void HeapCheck<C>::waiting(Cache& cache, unsigned index) {
    const BlockList<C>& list = I::waiting(cache, index);
    const Block* previous = nullptr;
    for (Block* block = list.head; block != nullptr; previous = block, block = block->next) {
        if (!listed_block(&list, block)) return;
        block->record.found_listed = true;
        const void *const back = block->previous, *const before = previous;
        if (!expect(invariant::list_links, block, back, before)) return;
        if (!expect(invariant::list_class, block, unsigned{block->class_index}, index)) return;
        if (!expect(invariant::waiting_owner, block, block->owner().word(), Owner(&cache, block->usable_state()).word())) return;
    }
    const void *const tail = list.tail, *const last = previous;
    expect(invariant::list_links, &list, tail, last);
}

template <class C>
void HeapCheck<C>::recovered(Cache& cache) {
    // acquire: pairs with the push of a thread that holds no lock any more.
    for (Block* block = cache.recovered.load(acquire); block != nullptr; block = block->next_recovered) {
        if (!listed_block(&cache.recovered, block)) return;
        if (!expect(invariant::recovered_owner, block, block->owner().word(), Owner(&cache, OwnerState::queued).word())) return;
    }
}

template <class C>
void HeapCheck<C>::combined(Cache& cache) {
    for (unsigned index = 0; index < I::combined_classes; ++index) {
        for (std::size_t way = 0; way < I::combined_ways; ++way) {
            auto& entry = I::combined(cache, index, way);
            // A second free may have been withdrawn with the slot: what is empty names nobody.
            if (entry.mask.load(relaxed) == 0) continue;
            Block* const block = &entry.block();
            const bool in_use = entry.key != 0 && readable(block) && H::shared.locate(block->base) == static_cast<Tenant*>(block);
            if (!holds(invariant::combined_key, &entry, in_use && block->class_index == index && entry.word() < block->used_words()))
                return;
        }
    }
}

template <class C>
void HeapCheck<C>::orphans() {
    for (unsigned index = 0; index < Classes::count; ++index) {
        // Without the record's marks a cycle shows as more orphans than a heap has: Brent's tortoise waits for the hare to come round.
        const Block* tortoise = nullptr;
        std::size_t steps = 0, limit = 2;
        for (Block* block = I::orphans(index); block != nullptr; block = block->next) {
            if (!listed_block(&H::shared.orphans[index], block)) return;
            if (!holds(invariant::in_one_place, block, block != tortoise)) return;
            if (++steps == limit) {
                tortoise = block;
                limit *= 2;
            }
            if constexpr (recorded) block->record.found_listed = true;
            if (!expect(invariant::orphan_owner, block, block->owner().word(), Owner(OwnerState::orphan).word())) return;
            if (!expect(invariant::list_class, block, unsigned{block->class_index}, index)) return;
        }
    }
}

template <class C>
void HeapCheck<C>::block(Block& block) {
    const void *const found = H::shared.locate(block.base), *const own = static_cast<Tenant*>(&block);
    if (!expect(invariant::in_its_slot, &block, found, own)) return;
    if (!holds(invariant::block_shape, &block, block.class_index < Classes::count)) return;
    const auto& shape = Shared<C>::shapes[block.class_index];
    if (!expect(invariant::block_shape, &block, std::uint64_t{block.size}, std::uint64_t{shape.size})) return;
    if (!expect(invariant::block_shape, &block, std::uint64_t{block.blocks}, std::uint64_t{shape.blocks})) return;
    for (unsigned w = 0; w < Block::words && findings_.count() == 0; ++w) maps(block, w);
    if constexpr (recorded) {
        if (findings_.count() == 0) place(block);
    }
}

/// What any heap can tell.
template <class C>
void HeapCheck<C>::maps(Block& block, unsigned w) {
    const std::uint64_t mask = block.block_mask(w), outside = block.initial_word(w) & ~mask;
    const auto free = [&] { return block.free_map[w].load(relaxed); };
    const auto remote = [&] { return block.remote_map[w].load(relaxed); };
    if (!no_bit(invariant::reserved_bits, &block, [&] { return (free() & ~mask) ^ outside; })) return;
    if (!no_bit(invariant::remote_bits, &block, [&] { return remote() & ~mask; })) return;
    if (!no_bit(invariant::free_remote_disjoint, &block, [&] { return free() & remote() & mask; })) return;
    if constexpr (recorded) recorded_maps(block, w);
}

/// What the verifier's record tells: each block is in exactly one of the maps.
template <class C>
void HeapCheck<C>::recorded_maps(Block& block, unsigned w) {
    const std::uint64_t mask = block.block_mask(w);
    const auto free = [&] { return block.free_map[w].load(relaxed); };
    const auto remote = [&] { return block.remote_map[w].load(relaxed); };
    const auto held = [&] { return block.record.live[w].load(relaxed); };
    const auto published = [&] { return block.record.published[w].load(relaxed); };
    std::uint64_t twice = 0;
    const auto combined = [&] {
        std::uint64_t sum = 0;
        twice = 0;
        for_each_cache([&](Cache& cache) {
            const std::uint64_t bits = I::combined_bits(cache, block, w);
            twice |= sum & bits;
            sum |= bits;
        });
        return sum;
    };
    if (!no_bit(invariant::remote_published, &block, [&] { return remote() & ~published(); })) return;
    if (!no_bit(invariant::published_arrives, &block, [&] { return published() & ~remote(); })) return;
    if (!no_bit(invariant::free_not_held, &block, [&] { return free() & held() & mask; })) return;
    if (!no_bit(invariant::remote_not_held, &block, [&] { return remote() & held(); })) return;
    if (!no_bit(invariant::combined_once, &block, [&] {
            const std::uint64_t bits = combined();
            return twice | (bits & (~mask | free() | remote() | held()));
        }))
        return;
    if (block.record.inherited) return;
    no_bit(invariant::every_block_somewhere, &block, [&] { return mask & ~(free() | remote() | held() | combined()); });
}

/// Where a block allocator was found, against what it says of itself.
template <class C>
void HeapCheck<C>::place(Block& block) {
    const Owner owner = block.owner();
    const auto& record = block.record;
    if (!expect(invariant::owner_at_seam, &block, owner.word(), record.owner.load(relaxed))) return;
    const bool owned = owner.state() != OwnerState::orphan;
    if (!holds(invariant::owner_registered, &block, !owned || is_registered(owner.template cache<Cache>()))) return;
    if (record.inherited) return;
    if (owner.state() == OwnerState::full) {
        if (!expect(invariant::full_on_no_list, &block, unsigned{record.found}, 0u)) return;
    } else if (!expect(invariant::in_one_place, &block, unsigned{record.found}, 1u)) {
        return;
    }
    if (!expect(invariant::in_bin_flag, &block, block.in_bin, record.found_in_bin)) return;
    expect(invariant::listed_record, &block, record.listed, record.found_listed);
}

}  // namespace mpmm
