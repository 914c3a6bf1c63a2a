// SPDX-License-Identifier: Apache-2.0
// What is known of one block allocator, apart from its own maps: which blocks are free, published and held, what they hold, and which pages nothing
// lies in.
#pragma once

#include "block/block_allocator.hpp"
#include "harness/failure.hpp"
#include "harness/signature.hpp"

#include <algorithm>
#include <bitset>
#include <cstring>
#include <vector>

namespace mpmm::fuzz {

template <class C>
struct KnownBlocks {
    using G = typename C::Geometry;
    using Block = BlockAllocator<C>;
    using Bits = std::bitset<G::map_bits>;

    Block* block;
    Bits usable, free, remote;
    bool full = false;
    unsigned returned = 0;   ///< by the owner since it became full
    std::uint64_t idle = 0;  ///< units that were unused at the last purge, and in no word that was taken from since
    std::vector<std::uint64_t> seeds;

    explicit KnownBlocks(Block* of) : block(of), seeds(of->blocks) {}

    Bits held() const { return usable & ~free & ~remote; }
    std::size_t slot_bytes() const { return std::size_t{1} << block->chunk->slot_shift; }
    /// The number-th of these blocks, counted round; map_bits when there is none.
    static unsigned nth(const Bits& bits, std::size_t number) {
        if (bits.none()) return G::map_bits;
        number %= bits.count();
        unsigned i = 0;
        while (!bits[i] || number-- != 0) ++i;
        return i;
    }

    void write(unsigned i, std::uint64_t seed) {
        seeds[i] = seed;
        Signature::fill(block->address(i), block->size, seed);
    }
    void check_content(unsigned i) const { Signature::check(block->address(i), block->size, block->size, seeds[i], "while it was held"); }
    void check_contents() const {
        const Bits all = held();
        for (unsigned i = 0; i < block->blocks; ++i)
            if (all[i]) check_content(i);
    }

    // Units of purging: pages, or blocks of at least a page.
    std::size_t unit() const { return std::max<std::size_t>(block->size, G::page); }
    std::uint64_t units_of_word(unsigned w) const {
        if (block->size >= G::page) return all_ones;
        return units_of(std::size_t{w} * 64 * block->size, std::size_t{w + 1} * 64 * block->size);
    }
    std::uint64_t unused_units(bool published) const {
        const std::size_t bytes = std::size_t{block->blocks} * block->size;
        return bytes < G::page ? 0 : units_of(0, bytes) & ~units_of(published ? ~free & ~remote : ~free);
    }

    /// Units that are said to be in no memory: nothing lies there, and, where memory comes as zero, what can be looked at reads as zero.
    void check_clean(bool zeroed) const {
        expect((block->clean_units & units_of(~free & ~remote)) == 0, "a unit with blocks in use counts as clean");
        if (!zeroed) return;
        for_each_bit(block->clean_units, [&](unsigned u) {
            const std::size_t from = align_up(u * unit(), G::page), to = align_down((u + std::size_t{1}) * unit(), G::page);
            for (std::size_t at = from; at < to; at += 8 * G::page) {
                std::uint64_t word = 0;
                std::memcpy(&word, block->base + at, sizeof word);
                expect(word == 0, "clean unit ", u, " holds something at offset ", at);
            }
        });
    }
    /// The block allocator's own maps and counts.
    void compare() const {
        for (unsigned i = 0; i < block->blocks; ++i) {
            const std::uint64_t is_free = block->free_word(i / 64) >> i % 64 & 1;
            const std::uint64_t is_remote = block->remote_map[i / 64].load(relaxed) >> i % 64 & 1;
            expect(is_free == free[i] && is_remote == remote[i], "block ", i, " is ", is_free != 0 ? "free" : "not free", " and ",
                   is_remote != 0 ? "published" : "not published");
        }
        unsigned lowest = 0;
        while (lowest < block->blocks && !free[lowest]) ++lowest;
        expect(block->lowest_free_word() == (lowest == block->blocks ? Block::words : lowest / 64), "the lowest word with a free block");
        expect(block->free_blocks() == free.count() && block->remote_blocks() == remote.count(), "blocks are counted wrongly");
        expect(block->all_free() == (free == usable), "all free, or not");
        expect(block->unused_units() == unused_units(false), "unused units");
        expect((block->clean_units & units_of(held())) == 0, "a unit with blocks in use counts as clean");
    }

  private:
    std::uint64_t units_of(std::size_t from, std::size_t to) const {
        std::uint64_t units = 0;
        for (std::size_t u = from / unit(); u <= (to - 1) / unit() && u < 64; ++u) units |= std::uint64_t{1} << u;
        return units;
    }
    std::uint64_t units_of(const Bits& blocks) const {
        std::uint64_t units = 0;
        for (std::size_t i = 0; i < block->blocks; ++i)
            if (blocks[i]) units |= units_of(i * block->size, (i + 1) * block->size);
        return units;
    }
};

}  // namespace mpmm::fuzz
