// SPDX-License-Identifier: Apache-2.0
// A block allocator: equal blocks in one slot, and one cache line of bits that says which are free.
//
//     slot    | block 0 | block 1 | … | block n-1 | untouched tail |
//     free    one bit per block, 1 = free; only the owner writes it
//     remote  one bit per block, 1 = freed by a thread that is not the owner; any thread sets, only the owner clears
//
// Bits of a word beyond the last block are 0 in a word that has blocks, and words without blocks are all ones: allocation never looks at
// those, and a wild free that lands on one finds the bit set already. An intrusive block allocator lies in its own slot: the blocks its
// header covers are reserved, their bits always 0.
//
// The owner reads and writes the free map with relaxed accesses: there is one writer, and others (statistics, heap walk) only look. Where
// ownership moves between threads, the owner word carries the ordering.
#pragma once

#include "backend/backend.hpp"
#include "block/owner_state.hpp"
#include "block/size_classes.hpp"
#include "block/tenant_map.hpp"
#include "platform/bitmap_word.hpp"
#include "platform/os.hpp"
#include "verify/report.hpp"

namespace mpmm {

template <class C>
class SlotChunk;

template <class C>
struct alignas(std::max(C::Geometry::line, tenant_alignment)) BlockAllocator : Tenant {
    using G = typename C::Geometry;
    using V = typename C::Verify;
    using Shape = typename SizeClasses<G>::Shape;
    static constexpr unsigned words = G::map_words;

    // What every free reads, in one line with the owner word.
    std::byte* base = nullptr;
    Reciprocal reciprocal;
    std::uint32_t size = 0;    ///< of a block
    std::uint16_t blocks = 0;  ///< count
    std::uint8_t class_index = 0;
    bool in_bin = false;                ///< a bin takes blocks from it
    Atomic<std::uint32_t> returned{0};  ///< owner's frees since it became full
    std::uint16_t reserved_first = 0, reserved_count = 0;
    BlockAllocator* previous = nullptr;
    BlockAllocator* next = nullptr;
    SlotChunk<C>* chunk = nullptr;

    alignas(G::line) BitmapWord free_map[words];
    alignas(G::line) BitmapWord remote_map[words];

    alignas(G::line) BlockAllocator* next_recovered = nullptr;
    std::uint64_t idle_units = 0;   ///< units that were unused at the last purge pass already
    std::uint64_t clean_units = 0;  ///< units of which no whole page is in memory
    std::uint64_t lent_units = 0;   ///< of checked ones: blocks handed out for a smaller class, and those of them that came back
    MPMM_NO_UNIQUE_ADDRESS typename V::template BlockRecord<words> record;

    /// Sets up all blocks as free. `clean`: the slot's pages are not in memory.
    void create(const Shape& shape, unsigned index, std::byte* slot, SlotChunk<C>* owner_chunk, bool clean);

    bool is_reserved(unsigned index) const { return index - reserved_first < reserved_count; }
    /// Bits of word `w` that stand for blocks the user can get.
    std::uint64_t block_mask(unsigned w) const {
        const unsigned first = w * 64;
        if (first >= blocks) return 0;
        std::uint64_t mask = bit_range(0, std::min(64u, blocks - first));
        for (unsigned i = 0; i < reserved_count; ++i)
            if ((reserved_first + i) / 64 == w) mask &= ~(std::uint64_t{1} << ((reserved_first + i) % 64));
        return mask;
    }
    /// The word when every block is free.
    std::uint64_t initial_word(unsigned w) const { return w * 64 >= blocks ? all_ones : block_mask(w); }
    unsigned used_words() const { return (blocks + 63u) / 64u; }
    bool checked() const { return blocks < 64; }
    /// Blocks that must come back before a full block allocator is used again. Measured, see docs/architecture.md.
    unsigned wake_threshold() const { return wake_threshold(blocks); }
    static unsigned wake_threshold(unsigned all) { return std::max(1u, all / 16u); }
    std::byte* address(unsigned index) const { return base + std::size_t{index} * size; }
    std::uint64_t free_word(unsigned w) const { return free_map[w].load(relaxed); }

    /// The block `address` is the start of; `exact` is false when it is inside one, in the tail or in the header.
    struct Found {
        unsigned index;
        bool exact;
    };
    Found find(const void* address) const {
        const auto offset = static_cast<std::size_t>(static_cast<const std::byte*>(address) - base);
        const auto [index, exact] = reciprocal.divide(offset);
        return {static_cast<unsigned>(index), exact && index < blocks && !is_reserved(static_cast<unsigned>(index))};
    }

    /// The lowest word with a free block, or `words`.
    unsigned lowest_free_word() const {
        for (unsigned w = 0, end = used_words(); w < end; ++w)
            if (free_word(w) != 0) return w;
        return words;
    }
    bool all_free() const {
        for (unsigned w = 0; w < used_words(); ++w)
            if (const std::uint64_t word = free_word(w); word != all_ones && word != initial_word(w)) return false;
        return true;
    }
    unsigned free_blocks() const {
        unsigned sum = 0;
        for (unsigned w = 0; w < used_words(); ++w) sum += count_ones(free_word(w));
        return sum;
    }
    unsigned remote_blocks() const {
        unsigned sum = 0;
        for (unsigned w = 0; w < used_words(); ++w) sum += count_ones(remote_map[w].load(relaxed));
        return sum;
    }
    /// Whether a full block allocator has enough blocks back to be used again.
    ///
    /// `returned` is read relaxed: a count that is one too low delays the wake-up to the next free. It cannot be put off for ever, because
    /// the remote map's share, which seq_cst makes exact (of several threads that publish and then count, the last one counts them all), and
    /// the owner's share each suffice alone: at most twice the threshold stays back.
    bool worth_waking() const { return worth_waking(blocks); }
    /// The same for a thread that knows of the `all` blocks it has, but no longer whether it has them: its last block may be back by now.
    bool worth_waking(unsigned all) const {
        const unsigned enough = wake_threshold(all);
        unsigned sum = returned.load(relaxed);
        for (unsigned w = 0; w * 64 < all && sum < enough; ++w) sum += count_ones(remote_map[w].load(seq_cst));
        return sum >= enough;
    }
    /// Counts a free by the owner while full; true when that is enough to wake up. Leaves the remote map's line alone: who frees remotely
    /// counts both shares.
    bool count_returned() {
        const std::uint32_t now = returned.load(relaxed) + 1;
        returned.store(now, relaxed);
        return now >= wake_threshold();
    }
    /// The state in which its owner takes blocks from it.
    OwnerState usable_state() const { return checked() ? OwnerState::checked : OwnerState::active; }

    /// Reports the blocks of a mask as freed twice. Returns the mask.
    std::uint64_t report_twice(unsigned w, std::uint64_t mask) const {
        for_each_bit(mask, [&](unsigned bit) { report::user_error(report::Kind::double_free, address(w * 64 + bit)); });
        return mask;
    }
    /// Puts a block back by its owner; false, with a report, when it is free already.
    bool put_back(unsigned index) {
        const std::uint64_t word = free_word(index / 64), bit = std::uint64_t{1} << (index % 64);
        if ((word & bit) != 0 || !V::returned(*this, index)) {
            report::user_error(report::Kind::double_free, address(index));
            return false;
        }
        // release: for who purges a queued block allocator, see unused_units().
        free_map[index / 64].store(word | bit, release);
        return true;
    }
    /// Sets bits of the remote map; reports blocks that are there, or free, already. Any thread.
    ///
    /// The free map is looked at first: what this thread rightly frees cannot be in it before, but may be the moment it is published. It
    /// also tells of a slot that went back meanwhile. A block that was handed out again is not seen here.
    void publish(unsigned w, std::uint64_t mask) {
        mask &= ~report_twice(w, free_word(w) & mask);
        V::remote_published(*this, w, mask);
        // seq_cst: one side of the wake-up handshake, see ThreadCache::retire().
        report_twice(w, remote_map[w].fetch_or(mask, seq_cst) & mask);
    }
    /// Takes the remote map over into the free map, owner only. Returns whether any block came.
    bool drain() {
        bool any = false;
        for (unsigned w = 0, end = used_words(); w < end; ++w) {
            if (remote_map[w].load(relaxed) == 0) continue;
            // acquire: what the freeing thread wrote to the block happens before its next use. publish() is the partner.
            const std::uint64_t taken = remote_map[w].exchange(0, acquire), free = free_word(w);
            V::taken_over(*this, w, taken);
            report_twice(w, taken & free);
            free_map[w].store(free | taken, relaxed);
            any = true;
        }
        if (any) V::drained(*this);
        return any;
    }

    /// Changes the owner word by its owner. seq_cst where the wake-up handshake needs it, release elsewhere: a new owner must see the maps.
    void set_owner(Owner to, std::memory_order order = release) {
        V::owner_changed(*this, owner_word.load(relaxed), to.word());
        V::owner_is(*this, to.word());
        owner_word.store(to.word(), order);
    }
    /// Changes the owner word if it still is `from`.
    bool change_owner(Owner from, Owner to) {
        V::owner_changed(*this, from.word(), to.word());
        std::uintptr_t expected = from.word();
        const bool changed = owner_word.compare_exchange_strong(expected, to.word(), seq_cst, seq_cst);
        // Who gave the new owner something to find has not told him yet, and who is the owner has not gone on.
        if constexpr (V::enabled)
            if (changed) V::owner_is(*this, to.word());
        return changed;
    }

    // ---- unused memory inside the slot ----

    /// One unit is a block when blocks are at least a page, and a page otherwise.
    bool unit_is_block() const { return size >= G::page; }
    /// The units in which no block is used. `remote`: blocks in the remote map are unused as well.
    std::uint64_t unused_units(bool remote = false) const;
    /// The units that word `w`'s blocks lie in: about to be used again.
    std::uint64_t units_of_word(unsigned w) const;
    void touch_word(unsigned w) {
        if ((idle_units | clean_units) == 0) return;
        const std::uint64_t touched = ~units_of_word(w);
        idle_units &= touched;
        clean_units &= touched;
    }
    /// Returns unused units to the system: those that were unused at the last pass too, or all when `now`. Bytes purged. By the owner, or
    /// while nobody can take blocks from it.
    std::size_t purge(Backend& backend, bool now, bool remote = false);
};

}  // namespace mpmm

#include "block/block_allocator.inl"
