// SPDX-License-Identifier: Apache-2.0
// Looking into the heap: statistics, the walk over live blocks, the description of an address, and the check of every invariant.
// No counters are kept on fast paths for this: the bitmaps are counted when somebody asks.
#pragma once

namespace mpmm {

namespace inspect {

/// Bits of blocks the user holds in word `w`.
template <class B>
std::uint64_t live_bits(const B& block, unsigned w) {
    return block.block_mask(w) & ~block.free_map[w].load(relaxed) & ~block.remote_map[w].load(relaxed);
}

/// The run of chunks that `address` lies in, or nullptr. A search: the map shows runs at their ends only.
template <class C>
Run* run_around(Shared<C>& shared, const std::byte* address) {
    using Entries = TenantEntries<typename C::Geometry>;
    Run* found = nullptr;
    shared.map.for_each([&](std::byte* chunk, auto entry) {
        if (!Entries::is_whole(entry)) return;
        Tenant* const tenant = Entries::template tenant<tenant_alignment>(entry, chunk);
        const OwnerState state = tenant->owner().state();
        if (state != OwnerState::large_used && state != OwnerState::large_free) return;
        auto* const run = static_cast<Run*>(tenant);
        if (address >= run->extent.base && address < run->extent.base + run->extent.chunks * C::Geometry::chunk) found = run;
    });
    return found;
}

/// Counts broken invariants, and reports each unless it is only a probe.
struct Checker {
    bool probe = false;
    std::size_t broken = 0;
    void expect(const char* invariant, const void* where, std::uint64_t found, std::uint64_t expected) {
        if (found == expected) return;
        ++broken;
        if (!probe) report::corruption(invariant, where, found, expected);
    }
    /// Runs check(checker) until it finds nothing broken, and reports what does not go away: other threads may be in the middle of a change,
    /// and what is broken stays broken.
    template <class Check>
    void settled(Check check) {
        for (int attempt = 0; attempt < 1000; ++attempt) {
            Checker quiet{true};
            check(quiet);
            if (quiet.broken == 0) return;
            cpu_relax();
        }
        check(*this);
    }
};

}  // namespace inspect

template <class C>
void Heap<C>::stats(mpmm_stats& out) {
    // The caller's own waiting frees count as freed.
    flush();
    shared.for_each_block_allocator([&](Block& block) {
        unsigned live = 0;
        for (unsigned w = 0; w < block.used_words(); ++w) live += count_ones(inspect::live_bits(block, w));
        out.used_blocks += live;
        out.used_bytes += std::size_t{live} * block.size;
        out.free_bytes += std::size_t{block.blocks - block.reserved_count - live} * block.size;
        out.block_allocators += 1;
    });
    out.large_bytes = shared.large.used_bytes();
    out.used_bytes += out.large_bytes;
    out.used_blocks += shared.large.used_blocks();
    out.cached_bytes = shared.large.cached_bytes();
    out.mapped_bytes = shared.backend.mapped();
    out.peak_mapped = shared.backend.peak();
    out.metadata_bytes = shared.memory.used();
    out.purged_bytes = shared.backend.purged();
    out.thread_caches = registry_.in_use();
}

template <class C>
int Heap<C>::walk(mpmm_walk_callback callback, void* context) {
    flush();
    int result = 0;
    shared.for_each_block_allocator([&](Block& block) {
        for (unsigned w = 0; w < block.used_words() && result == 0; ++w)
            for_each_bit(inspect::live_bits(block, w), [&](unsigned bit) {
                if (result == 0) result = callback(block.address(w * 64 + bit), block.size, context);
            });
    });
    shared.map.for_each([&](std::byte* chunk, auto entry) {
        if (result != 0 || !TenantEntries<G>::is_whole(entry)) return;
        Tenant* const tenant = shared.first_tenant(chunk);
        if (tenant->owner().state() != OwnerState::large_used) return;
        auto* const run = static_cast<Run*>(tenant);
        if (run->extent.base == chunk) result = callback(chunk, run->size, context);
    });
    return result;
}

template <class C>
mpmm_address_info Heap<C>::describe(const void* address) {
    const auto* const where = static_cast<const std::byte*>(address);
    Tenant* tenant = shared.locate(address);
    if (tenant->owner().state() == OwnerState::foreign)
        if (Run* const run = inspect::run_around(shared, where); run != nullptr) tenant = run;
    mpmm_address_info info{};
    switch (tenant->owner().state()) {
        case OwnerState::foreign: info.kind = MPMM_ADDRESS_FOREIGN; return info;
        case OwnerState::unused:
        case OwnerState::large_free: info.kind = MPMM_ADDRESS_UNUSED; return info;
        case OwnerState::large_used: {
            const auto& run = *static_cast<const Run*>(tenant);
            info.offset = static_cast<std::size_t>(where - run.extent.base);
            info.kind = info.offset < run.size ? MPMM_ADDRESS_LIVE : MPMM_ADDRESS_UNUSED;
            if (info.kind == MPMM_ADDRESS_LIVE) {
                info.block = run.extent.base;
                info.usable_size = run.size;
            }
            return info;
        }
        default: break;
    }
    const auto& block = *static_cast<const Block*>(tenant);
    const std::size_t offset = static_cast<std::size_t>(where - block.base);
    const auto index = static_cast<unsigned>(offset / block.size);
    info.kind = MPMM_ADDRESS_UNUSED;
    if (index >= block.blocks || block.is_reserved(index)) return info;
    info.kind = (inspect::live_bits(block, index / 64) >> (index % 64) & 1) != 0 ? MPMM_ADDRESS_LIVE : MPMM_ADDRESS_FREE;
    info.block = block.address(index);
    info.usable_size = block.size;
    info.offset = offset % block.size;
    return info;
}

template <class C>
void Heap<C>::check_large_cache(inspect::Checker& check) {
    using Entries = TenantEntries<G>;
    const auto entry_at = [](const std::byte* address) { return reinterpret_cast<std::uintptr_t>(shared.map.find(address)); };
    std::size_t run_bytes = 0;
    const std::size_t cached = shared.large.for_each_free([&](Run& run) {
        run_bytes += run.extent.chunks * G::chunk;
        const auto own = reinterpret_cast<std::uintptr_t>(Entries::whole(&run)), none = reinterpret_cast<std::uintptr_t>(Entries::none());
        check.expect("a free run's owner word", &run, run.owner_word.load(relaxed), Owner(OwnerState::large_free).word());
        check.expect("a free run is tagged at its first chunk", &run, entry_at(run.extent.base), own);
        check.expect("a free run is tagged at its last chunk", &run, entry_at(run.extent.base + (run.extent.chunks - 1) * G::chunk), own);
        for (std::size_t i = 1; i + 1 < run.extent.chunks; ++i)
            check.expect("the inside of a free run belongs to nobody", &run, entry_at(run.extent.base + i * G::chunk), none);
    });
    check.expect("the large cache's size is the sum of its runs", &shared.large, cached, run_bytes);
}

template <class C>
void Heap<C>::check_chunk(inspect::Checker& check, SlotChunk<C>& chunk) {
    check.expect("a chunk's map entry points at its record", &chunk, reinterpret_cast<std::uintptr_t>(shared.map.find(chunk.extent.base)),
                 reinterpret_cast<std::uintptr_t>(chunk.entry()));
    unsigned free_slots = 0;
    for (unsigned w = 0; w < chunk.bit_words(); ++w) free_slots += count_ones(chunk.free_bits[w]);
    check.expect("a chunk's free slots are counted", &chunk, chunk.free_slots, free_slots);
    for (std::size_t i = 0; i < chunk.slots; ++i)
        if (chunk.is_free(i)) check.expect("a free slot has no owner", chunk.block(i), chunk.block(i)->owner_word.load(relaxed), 0);
}

template <class C>
void Heap<C>::check_block(inspect::Checker& check, Block& block) {
    for (unsigned w = 0; w < Block::words; ++w) {
        const std::uint64_t free = block.free_map[w].load(relaxed), remote = block.remote_map[w].load(relaxed);
        check.expect("free and remote map are disjoint", &block, free & remote & block.block_mask(w), 0);
        check.expect("reserved and out-of-range bits keep their value", &block, free & ~block.block_mask(w),
                     block.initial_word(w) & ~block.block_mask(w));
        check.expect("remote bits stand for blocks", &block, remote & ~block.block_mask(w), 0);
    }
    check.expect("a used slot's block allocator has a legal owner state", &block, block.owner().is_block_allocator(), true);
    check.expect("a block allocator lies in its chunk's slot", &block, reinterpret_cast<std::uintptr_t>(shared.locate(block.base)),
                 reinterpret_cast<std::uintptr_t>(&block));
}

template <class C>
std::size_t Heap<C>::verify() {
    flush();
    inspect::Checker check;
    check.settled([](auto& large) { check_large_cache(large); });
    for (auto& kind : shared.pools) {
        for (auto& pool : kind) {
            pool.for_each_chunk([&](SlotChunk<C>& chunk) { check.settled([&](auto& of) { check_chunk(of, chunk); }); });
            pool.for_each([&](Block& block) { check.settled([&](auto& of) { check_block(of, block); }); });
        }
    }
    return check.broken;
}

}  // namespace mpmm
