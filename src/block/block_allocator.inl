// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace mpmm {

template <class C>
void BlockAllocator<C>::create(const Shape& shape, unsigned index, std::byte* slot, SlotChunk<C>* owner_chunk, bool clean) {
    base = slot;
    reciprocal = shape.reciprocal;
    size = shape.size;
    blocks = shape.blocks;
    class_index = static_cast<std::uint8_t>(index);
    in_bin = false;
    returned.store(0, relaxed);
    reserved_first = reserved_count = 0;
    const auto start = reinterpret_cast<std::uintptr_t>(slot), header = reinterpret_cast<std::uintptr_t>(this);
    if (shape.intrusive && header - start < std::size_t{blocks} * size) {
        const std::size_t first = (header - start) / size;
        const std::size_t end = std::min<std::size_t>((header - start + sizeof *this + size - 1) / size, blocks);
        reserved_first = static_cast<std::uint16_t>(first);
        reserved_count = static_cast<std::uint16_t>(end - first);
    }
    previous = next = next_recovered = nullptr;
    chunk = owner_chunk;
    for (unsigned w = 0; w < words; ++w) {
        free_map[w].store(initial_word(w), relaxed);
        remote_map[w].store(0, relaxed);
    }
    idle_units = 0;
    clean_units = clean ? unused_units() : 0;
    lent_units = 0;
    V::created(*this);
}

template <class C>
std::uint64_t BlockAllocator<C>::unused_units(bool remote) const {
    // acquire: what the thread that freed a block wrote to it comes before its page goes. Of the remote map that is publish(); of the free map
    // it is an owner who frees while his block allocator is queued, and purged by another thread.
    const auto free = [&](unsigned w) { return free_map[w].load(acquire) | (remote ? remote_map[w].load(acquire) : 0); };
    if (unit_is_block()) return free(0) & block_mask(0);
    const std::size_t used = std::size_t{blocks} * size;
    const auto pages = static_cast<unsigned>((used + G::page - 1) / G::page);
    if (pages == 0 || used < G::page) return 0;
    std::uint64_t unused = bit_range(0, pages);
    // Clears the pages under the blocks [first, first + count).
    const auto clear = [&](std::size_t first, std::size_t count) {
        const auto from = static_cast<unsigned>(first * size >> G::page_shift);
        const auto to = static_cast<unsigned>(((first + count) * size - 1) >> G::page_shift);
        unused &= ~bit_range(from, to - from + 1);
    };
    for (unsigned w = 0; w < used_words(); ++w)
        for_each_run(~free(w) & bit_range(0, std::min(64u, blocks - w * 64)),
                     [&](unsigned first, unsigned count) { clear(w * 64 + first, count); });
    return unused;
}

template <class C>
std::uint64_t BlockAllocator<C>::units_of_word(unsigned w) const {
    if (unit_is_block()) return all_ones;
    const std::size_t first = std::size_t{w} * 64 * size, end = first + std::size_t{64} * size;
    const auto from = static_cast<unsigned>(first >> G::page_shift), to = static_cast<unsigned>((end - 1) >> G::page_shift);
    return from > 63 ? 0 : bit_range(from, std::min(to, 63u) - from + 1);
}

template <class C>
std::size_t BlockAllocator<C>::purge(Backend& backend, bool now, bool remote) {
    const std::uint64_t unused = unused_units(remote);
    const std::uint64_t due = unused & ~clean_units & (now ? all_ones : idle_units);
    idle_units = unused;
    if (due == 0) return 0;
    const std::size_t page = os::whole_page<G>();
    std::size_t purged = 0;
    for_each_run(unused, [&](unsigned first, unsigned count) {
        const std::uint64_t run = bit_range(first, count);
        if ((run & due) == 0) return;
        // Whole pages only; blocks that are no multiple of a page share one with their neighbour, as units do where the system's are larger.
        const std::size_t unit = unit_is_block() ? size : G::page;
        const auto start = reinterpret_cast<std::uintptr_t>(base);
        const std::uintptr_t from = align_up(start + first * unit, page), to = align_down(start + (first + count) * unit, page);
        if (from < to && backend.purge(reinterpret_cast<void*>(from), to - from)) {
            purged += to - from;
            clean_units |= run;
        }
    });
    return purged;
}

}  // namespace mpmm
