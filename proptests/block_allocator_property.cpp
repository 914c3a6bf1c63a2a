// SPDX-License-Identifier: Apache-2.0
// The bitmaps of a block allocator against std::bitset: any order of taking, local and remote frees and draining. And what
// follows from them: which block an address belongs to, and which pages may be purged.
#include "configs.hpp"
#include "tcache/bin.hpp"
#include "tcache/shared.hpp"

#include <algorithm>
#include <bitset>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <vector>

namespace mpmm {
namespace {

template <class C>
class BlockAllocatorProperty : public ::testing::Test {};
TYPED_TEST_SUITE(BlockAllocatorProperty, test::Configs);

template <class C>
struct Bitmaps {
    static constexpr std::size_t most = C::Geometry::map_bits;
    using Bits = std::bitset<most>;
    using Block = BlockAllocator<C>;

    /// Half of them small ones: few are intrusive.
    static rc::Gen<unsigned> any_class() {
        using Classes = SizeClasses<typename C::Geometry>;
        return rc::gen::oneOf(rc::gen::inRange(0u, Classes::linear_classes), rc::gen::inRange(0u, Classes::count));
    }

    static inline Shared<C> shared{};
    std::vector<Block*> others;
    Block* block = nullptr;
    Bits free, remote, usable;

    /// In the slot behind `before` others of the class: the slot's number says where an intrusive header lies.
    Bitmaps(unsigned index, unsigned before) {
        for (unsigned i = 0; i < before; ++i) {
            others.push_back(shared.new_block_allocator(index));
            RC_ASSERT((others.back() != nullptr));
        }
        block = shared.new_block_allocator(index);
        RC_ASSERT((block != nullptr));
        block->set_owner(Owner(reinterpret_cast<void*>(64), block->usable_state()));
        for (unsigned i = 0; i < block->blocks; ++i) usable[i] = !block->is_reserved(i);
        free = usable;
    }
    ~Bitmaps() {
        for (unsigned i = 0; i < block->blocks; ++i)
            if (usable[i] && !free[i] && !remote[i]) block->put_back(i);
        block->drain();
        shared.release(*block);
        for (Block* const other : others) shared.release(*other);
    }

    void take(unsigned i) {
        block->free_map[i / 64].store(block->free_word(i / 64) & ~(std::uint64_t{1} << (i % 64)), relaxed);
        C::Verify::handed_out(*block, i);
        free[i] = false;
    }
    void put_back(unsigned i) {
        RC_ASSERT(block->put_back(i));
        free[i] = true;
    }
    void publish(unsigned i) {
        C::Verify::returned(*block, i);
        block->publish(i / 64, std::uint64_t{1} << (i % 64));
        remote[i] = true;
    }
    void drain() {
        RC_ASSERT(block->drain() == remote.any());
        free |= remote;
        remote.reset();
    }
    void step(unsigned what, unsigned number) {
        const unsigned i = number % block->blocks;
        if (!usable[i]) return;
        if (what == 3) drain();
        else if (remote[i]) return;
        else if (free[i]) take(i);
        else if (what == 2) publish(i);
        else put_back(i);
    }
    /// Pages, or blocks of at least a page, on which no block is in use.
    std::uint64_t unused_units() const {
        const std::size_t page = C::Geometry::page, bytes = std::size_t{block->blocks} * block->size;
        const bool by_block = block->size >= page;
        if (!by_block && bytes < page) return 0;
        const std::size_t unit = by_block ? block->size : page, units = by_block ? block->blocks : (bytes + page - 1) / page;
        std::uint64_t unused = bit_range(0, static_cast<unsigned>(units));
        for (unsigned i = 0; i < block->blocks; ++i) {
            if (free[i]) continue;
            for (std::size_t u = i * std::size_t{block->size} / unit; u <= ((i + std::size_t{1}) * block->size - 1) / unit; ++u)
                unused &= ~(std::uint64_t{1} << u);
        }
        return unused;
    }
    /// Whole pages without a byte of a block in use. What lies behind the last block counts as free where blocks share pages.
    std::size_t unused_pages() const {
        const std::size_t page = C::Geometry::page, bytes = std::size_t{block->blocks} * block->size;
        if (bytes < page) return 0;
        std::size_t count = 0;
        for (std::size_t at = 0; at < bytes && (block->size < page || at + page <= bytes); at += page) {
            const auto last = static_cast<unsigned>((std::min(at + page, bytes) - 1) / block->size);
            auto i = static_cast<unsigned>(at / block->size);
            while (i <= last && (free[i] || remote[i])) ++i;
            count += i > last;
        }
        return count;
    }
    void compare() const {
        RC_ASSERT(block->free_blocks() == free.count());
        RC_ASSERT(block->remote_blocks() == remote.count());
        RC_ASSERT(block->all_free() == (free == usable));
        unsigned lowest = 0;
        while (lowest < block->blocks && !free[lowest]) ++lowest;
        RC_ASSERT(block->lowest_free_word() == (lowest == block->blocks ? Block::words : lowest / 64));
        RC_ASSERT(block->unused_units() == unused_units());
        RC_ASSERT(block->used_words() == (block->blocks + 63u) / 64u);
        for (unsigned w = 0; w < Block::words; ++w) {
            std::bitset<64> mask;
            for (unsigned i = w * 64; i < std::min(w * 64 + 64, unsigned{block->blocks}); ++i) mask[i % 64] = usable[i];
            RC_ASSERT(block->block_mask(w) == mask.to_ullong());
            RC_ASSERT(block->initial_word(w) == (w * 64 < block->blocks ? mask.to_ullong() : all_ones));
        }
        for (unsigned i = 0; i < block->blocks; ++i) {
            RC_ASSERT((block->free_word(i / 64) >> (i % 64) & 1) == free[i]);
            RC_ASSERT(block->find(block->address(i)).exact == usable[i]);
        }
    }
};

TYPED_TEST(BlockAllocatorProperty, BitmapsAreSets) {
    using Maps = Bitmaps<TypeParam>;
    EXPECT_TRUE(rc::check("bitmaps are sets", [] {
        Maps maps(*Maps::any_class(), *rc::gen::inRange(0u, 8u));
        // From nothing taken, or from everything taken: a random walk would hardly come there.
        if (*rc::gen::arbitrary<bool>())
            for (unsigned i = 0; i < maps.block->blocks; ++i)
                if (maps.usable[i]) maps.take(i);
        const auto steps = *rc::gen::container<std::vector<std::pair<unsigned, unsigned>>>(
            rc::gen::pair(rc::gen::inRange(0u, 4u), rc::gen::inRange(0u, 1024u)));
        for (const auto& [what, number] : steps) maps.step(what, number);
        maps.compare();
    }));
}

/// Every byte of a slot belongs to one block, the header, or the tail; blocks are aligned as their size is.
TYPED_TEST(BlockAllocatorProperty, AddressesAreBlocks) {
    using Maps = Bitmaps<TypeParam>;
    EXPECT_TRUE(rc::check("addresses are blocks", [] {
        Maps maps(*Maps::any_class(), *rc::gen::inRange(0u, 8u));
        const auto& block = *maps.block;
        const std::size_t slot = std::size_t{1} << Maps::shared.shapes[block.class_index].slot_shift;
        // Starts of blocks, and what would be the first one behind the last.
        const std::size_t start = *rc::gen::element<std::size_t>(*rc::gen::inRange(0u, unsigned{block.blocks}), block.blocks) * block.size;
        const std::size_t offset = *rc::gen::element(start % slot, *rc::gen::inRange<std::size_t>(0, slot));
        const auto found = block.find(block.base + offset);
        RC_ASSERT(found.index == offset / block.size);
        RC_ASSERT(found.exact == (offset % block.size == 0 && found.index < block.blocks && maps.usable[found.index]));
        RC_ASSERT((Maps::shared.locate(block.base + offset) == &block));
        const std::uintptr_t natural = block.size & ~(block.size - 1);
        RC_ASSERT(is_aligned(reinterpret_cast<std::uintptr_t>(block.address(found.index)), natural));
    }));
}

/// A purge takes whole pages under free blocks and nothing else: at once, or what was unused at the last one as well.
TYPED_TEST(BlockAllocatorProperty, PurgesUnderFreeBlocksOnly) {
    using Maps = Bitmaps<TypeParam>;
    EXPECT_TRUE(rc::check("purges under free blocks only", [] {
        Maps maps(*Maps::any_class(), *rc::gen::inRange(0u, 8u));
        auto& block = *maps.block;
        const auto runs = *rc::gen::container<std::vector<std::pair<unsigned, unsigned>>>(
            rc::gen::pair(rc::gen::inRange(0u, unsigned{block.blocks}), rc::gen::inRange(1u, unsigned{block.blocks} + 1)));
        const bool remote = *rc::gen::arbitrary<bool>(), at_once = *rc::gen::arbitrary<bool>();
        for (unsigned w = 0; w < block.used_words(); ++w) block.touch_word(w);
        for (unsigned i = 0; i < block.blocks; ++i) {
            if (!maps.usable[i]) continue;
            maps.take(i);
            block.address(i)[0] = block.address(i)[block.size - 1] = std::byte{0xA5};
        }
        for (const auto& [first, count] : runs)
            for (unsigned i = first; i < std::min(first + count, unsigned{block.blocks}); ++i)
                if (maps.usable[i] && !maps.free[i] && !maps.remote[i]) remote ? maps.publish(i) : maps.put_back(i);
        Backend& backend = Maps::shared.backend;
        if (!at_once) RC_ASSERT(block.purge(backend, false, remote) == 0u);
        const std::size_t purged = block.purge(backend, at_once, remote);
        RC_ASSERT(purged == maps.unused_pages() * TypeParam::Geometry::page);
        RC_ASSERT(block.purge(backend, true, remote) == 0u);
        for (unsigned i = 0; i < block.blocks; ++i)
            if (maps.usable[i] && !maps.free[i] && !maps.remote[i])
                RC_ASSERT((block.address(i)[0] == std::byte{0xA5} && block.address(i)[block.size - 1] == std::byte{0xA5}));
        maps.drain();
    }));
}

}  // namespace
}  // namespace mpmm
