// SPDX-License-Identifier: Apache-2.0
// Looking into the heap: statistics, the walk over live blocks, and the description of an address.
// No counters are kept on fast paths for this: the bitmaps are counted when somebody asks.
#pragma once

namespace mpmm {

namespace inspect {

/// Bits of blocks the user holds in word `w`.
template <class B>
std::uint64_t live_bits(const B& block, unsigned w) {
    return block.block_mask(w) & ~block.free_map[w].load(relaxed) & ~block.remote_map[w].load(relaxed);
}

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
        if (const std::size_t size = shared.large.used_size(chunk); size != 0) result = callback(chunk, size, context);
    });
    return result;
}

template <class C>
mpmm_address_info Heap<C>::describe(const void* address) {
    const auto* const where = static_cast<const std::byte*>(address);
    Tenant* tenant = shared.locate(address);
    if (tenant->owner().state() == OwnerState::foreign)
        if (Run* const run = shared.large.run_around(where); run != nullptr) tenant = run;
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

}  // namespace mpmm
