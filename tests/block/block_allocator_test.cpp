// SPDX-License-Identifier: Apache-2.0
#include "block/block_allocator.hpp"
#include "configs.hpp"
#include "tcache/bin.hpp"
#include "tcache/shared.hpp"

#include <algorithm>
#include <set>
#include <vector>

namespace mpmm {
namespace {

template <class C>
class BlockAllocatorTest : public ::testing::Test {
  protected:
    using G = typename C::Geometry;
    using Block = BlockAllocator<C>;
    using Classes = SizeClasses<G>;
    Shared<C> shared{};

    void TearDown() override {
        shared.purge(0, 0);
        shared.large.trim(0);
    }
    Block* make(unsigned index) {
        Block* const block = shared.new_block_allocator(index);
        block->set_owner(Owner(reinterpret_cast<void*>(64), block->usable_state()));
        return block;
    }
    /// Takes every block there is, through a bin as threads do or directly for those of less than a word.
    std::vector<unsigned> take_all(Block& block) {
        std::vector<unsigned> taken;
        for (unsigned w = 0; w < block.used_words(); ++w) {
            block.touch_word(w);
            for_each_bit(block.free_word(w), [&](unsigned bit) {
                block.free_map[w].store(block.free_word(w) & ~(std::uint64_t{1} << bit), relaxed);
                C::Verify::handed_out(block, w * 64 + bit);
                taken.push_back(w * 64 + bit);
            });
        }
        return taken;
    }
};
TYPED_TEST_SUITE(BlockAllocatorTest, test::Configs);

/// Every class: blocks lie inside the slot, outside the header, do not overlap, and are found again; everything else is not.
TYPED_TEST(BlockAllocatorTest, AddressesAndIndexesAgree) {
    using Classes = typename TestFixture::Classes;
    for (unsigned index = 0; index < Classes::count; ++index) {
        auto& block = *this->make(index);
        const auto& shape = Shared<TypeParam>::shapes[index];
        const auto taken = this->take_all(block);
        ASSERT_EQ(taken.size(), std::size_t{block.blocks} - block.reserved_count);
        ASSERT_EQ(this->shared.locate(block.base), &block);
        for (const unsigned i : taken) {
            std::byte* const address = block.address(i);
            ASSERT_LE(address + block.size, block.base + (std::size_t{1} << shape.slot_shift));
            ASSERT_EQ(this->shared.locate(address), &block);
            ASSERT_EQ(this->shared.locate(address + block.size - 1), &block);
            ASSERT_TRUE(block.find(address).exact);
            ASSERT_EQ(block.find(address).index, i);
            ASSERT_FALSE(block.find(address + 1).exact);
            if (shape.intrusive) {
                auto* const header = reinterpret_cast<std::byte*>(&block);
                ASSERT_TRUE(address + block.size <= header || address >= header + sizeof block);
            }
        }
        for (unsigned i = 0; i < block.reserved_count; ++i) ASSERT_FALSE(block.find(block.address(block.reserved_first + i)).exact);
        ASSERT_FALSE(block.find(block.address(block.blocks)).exact);
        for (const unsigned i : taken) ASSERT_TRUE(block.put_back(i));
        ASSERT_TRUE(block.all_free());
        this->shared.release(block);
    }
}

TYPED_TEST(BlockAllocatorTest, RemoteBitsComeBackOnce) {
    auto& block = *this->make(4);
    const auto taken = this->take_all(block);
    for (const unsigned i : taken) {
        ASSERT_TRUE(TypeParam::Verify::returned(block, i));
        block.publish(i / 64, std::uint64_t{1} << (i % 64));
    }
    EXPECT_EQ(block.free_blocks(), 0u);
    EXPECT_EQ(block.remote_blocks(), taken.size());
    EXPECT_TRUE(block.worth_waking());
    EXPECT_TRUE(block.drain());
    EXPECT_FALSE(block.drain());
    EXPECT_TRUE(block.all_free());
    EXPECT_EQ(block.remote_blocks(), 0u);
    this->shared.release(block);
}

TYPED_TEST(BlockAllocatorTest, CountsReturnsUpToTheThreshold) {
    auto& block = *this->make(3);
    unsigned needed = 1;
    while (!block.count_returned()) ++needed;
    EXPECT_EQ(needed, block.wake_threshold());
    EXPECT_GT(needed, 1u);
    EXPECT_LE(needed, block.blocks / 8u) << "what a full block allocator withholds";
}

/// Units: exactly those pages (or blocks) in which nothing is used.
TYPED_TEST(BlockAllocatorTest, UnusedUnitsAreThoseWithoutUsedBlocks) {
    using G = typename TestFixture::G;
    std::uint64_t random = 7;
    for (unsigned index = 0; index < TestFixture::Classes::count; index += 3) {
        auto& block = *this->make(index);
        auto taken = this->take_all(block);
        for (int round = 0; round < 4; ++round) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            const unsigned from = static_cast<unsigned>((random >> 33) % taken.size());
            const unsigned keep_every = 1u << (random >> 60);
            std::set<unsigned> used;
            for (unsigned k = 0; k < taken.size(); ++k)
                if (k < from && k % keep_every == 0) used.insert(taken[k]);
            for (unsigned i = 0; i < block.reserved_count; ++i) used.insert(block.reserved_first + i);
            std::set<unsigned> returned;
            for (const unsigned i : taken)
                if (!used.contains(i)) {
                    ASSERT_TRUE(block.put_back(i));
                    returned.insert(i);
                }
            const std::uint64_t unused = block.unused_units();
            const std::size_t unit = block.unit_is_block() ? block.size : G::page;
            const std::size_t total = std::size_t{block.blocks} * block.size;
            const unsigned units = total < G::page ? 0 : static_cast<unsigned>((total + unit - 1) / unit);
            for (unsigned u = 0; u < 64; ++u) {
                bool free = u < units;
                for (unsigned i = static_cast<unsigned>(u * unit / block.size);
                     free && i < block.blocks && i * std::size_t{block.size} < (u + 1) * unit; ++i)
                    free = !used.contains(i);
                ASSERT_EQ((unused >> u & 1) != 0, free) << block.size << " unit " << u;
            }
            for (const unsigned i : returned) {
                block.free_map[i / 64].store(block.free_word(i / 64) & ~(std::uint64_t{1} << (i % 64)), relaxed);
                TypeParam::Verify::handed_out(block, i);
            }
        }
        for (const unsigned i : taken) ASSERT_TRUE(block.put_back(i));
        this->shared.release(block);
    }
}

/// Purging keeps what is used, clears what is not, and does nothing twice.
TYPED_TEST(BlockAllocatorTest, PurgeKeepsUsedBlocks) {
    using Classes = typename TestFixture::Classes;
    for (const std::size_t size : {std::size_t{48}, std::size_t{256}, std::size_t{1280}, std::size_t{5120}, std::size_t{40960}}) {
        auto& block = *this->make(Classes::of(size));
        const auto taken = this->take_all(block);
        for (const unsigned i : taken) std::fill_n(block.address(i), block.size, static_cast<std::byte>(i + 1));
        std::vector<unsigned> kept;
        for (const unsigned i : taken)
            if (i % 37 == 0) kept.push_back(i);
            else ASSERT_TRUE(block.put_back(i));
        const std::uint64_t unused = block.unused_units();
        EXPECT_EQ(block.purge(this->shared.backend, false), 0u) << "the first pass only looks";
        const std::size_t purged = block.purge(this->shared.backend, false);
        if (unused != 0 && !block.unit_is_block()) EXPECT_GT(purged, 0u) << size;
        if (unused == 0) EXPECT_EQ(purged, 0u) << size;
        EXPECT_EQ(block.purge(this->shared.backend, true), 0u) << "nothing is purged twice";
        for (const unsigned i : kept)
            for (std::size_t at = 0; at < block.size; ++at) ASSERT_EQ(block.address(i)[at], static_cast<std::byte>(i + 1)) << size;
        for (const unsigned i : kept) ASSERT_TRUE(block.put_back(i));
        this->shared.release(block);
    }
}

TYPED_TEST(BlockAllocatorTest, SlotsAndChunksGoBack) {
    using G = typename TestFixture::G;
    std::vector<typename TestFixture::Block*> blocks;
    const unsigned index = TestFixture::Classes::of(200);
    const std::size_t per_chunk = G::chunk >> Shared<TypeParam>::shapes[index].slot_shift;
    for (std::size_t i = 0; i < 3 * per_chunk; ++i) blocks.push_back(this->make(index));
    EXPECT_EQ(std::set(blocks.begin(), blocks.end()).size(), blocks.size());
    for (auto* const block : blocks) this->shared.release(*block);
    EXPECT_GE(this->shared.large.cached_bytes(), 2 * G::chunk) << "empty chunks are in the large cache";
    this->shared.purge(~std::uint64_t{0}, 0);
    EXPECT_EQ(this->shared.large.cached_bytes(), 3 * G::chunk);
}

TEST(OwnerStates, ZeroIsUnusedAndTransitionsFollowTheDrawing) {
    using enum OwnerState;
    EXPECT_EQ(Owner(std::uintptr_t{0}).state(), unused);
    EXPECT_EQ(Owner(unused).word(), 0u);
    EXPECT_EQ(Owner(reinterpret_cast<void*>(64), active).state(), active);
    EXPECT_TRUE(Owner(reinterpret_cast<void*>(64), full).belongs_to(reinterpret_cast<void*>(64)));
    EXPECT_TRUE(legal_transition(active, full));
    EXPECT_TRUE(legal_transition(full, queued));
    EXPECT_TRUE(legal_transition(queued, active));
    EXPECT_TRUE(legal_transition(orphan, active));
    EXPECT_FALSE(legal_transition(active, queued));
    EXPECT_FALSE(legal_transition(full, unused));
    EXPECT_FALSE(legal_transition(unused, full));
    EXPECT_FALSE(legal_transition(foreign, active));
    EXPECT_FALSE(legal_transition(orphan, queued));
}

}  // namespace
}  // namespace mpmm
