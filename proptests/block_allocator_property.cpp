// SPDX-License-Identifier: Apache-2.0
// The bitmaps of a block allocator against std::bitset: any order of taking, local and remote frees and draining.
#include "configs.hpp"
#include "tcache/bin.hpp"
#include "tcache/shared.hpp"

#include <bitset>
#include <gtest/gtest.h>
#include <rapidcheck.h>

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

    static inline Shared<C> shared{};
    Block* block;
    Bits free, remote, usable;

    explicit Bitmaps(unsigned index) : block(shared.new_block_allocator(index)) {
        RC_ASSERT(block != nullptr);
        block->set_owner(Owner(reinterpret_cast<void*>(64), block->usable_state()));
        for (unsigned i = 0; i < block->blocks; ++i) usable[i] = !block->is_reserved(i);
        free = usable;
    }
    ~Bitmaps() {
        for (unsigned i = 0; i < block->blocks; ++i)
            if (usable[i] && !free[i] && !remote[i]) block->put_back(i);
        block->drain();
        shared.release(*block);
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
    void compare() const {
        RC_ASSERT(block->free_blocks() == free.count());
        RC_ASSERT(block->remote_blocks() == remote.count());
        RC_ASSERT(block->all_free() == (free == usable));
        unsigned lowest = 0;
        while (lowest < block->blocks && !free[lowest]) ++lowest;
        RC_ASSERT(block->lowest_free_word() == (lowest == block->blocks ? Block::words : lowest / 64));
        RC_ASSERT(block->unused_units() == unused_units());
        for (unsigned i = 0; i < block->blocks; ++i) {
            RC_ASSERT((block->free_word(i / 64) >> (i % 64) & 1) == free[i]);
            RC_ASSERT(block->find(block->address(i)).exact == usable[i]);
        }
    }
};

TYPED_TEST(BlockAllocatorProperty, BitmapsAreSets) {
    using Maps = Bitmaps<TypeParam>;
    EXPECT_TRUE(rc::check("bitmaps are sets", [] {
        Maps maps(*rc::gen::inRange(0u, SizeClasses<typename TypeParam::Geometry>::count));
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

}  // namespace
}  // namespace mpmm
