// SPDX-License-Identifier: Apache-2.0
// Size classes, shapes and BlockAllocator::find() for every size and offset, in every geometry.
#include "block/slot_pool.hpp"
#include "geometries.hpp"
#include "heap/config.hpp"

#include <gtest/gtest.h>
#include <memory>
#include <vector>

namespace mpmm {
namespace {

template <class G>
using TestConfig = Config<G, NoVerify, 128>;

TEST(SizeClassTables, HoldEverySizeInTheSmallestClass) {
    test::for_each_geometry([]<class G>() {
        using Classes = SizeClasses<G>;
        static_assert(Classes::proved());
        unsigned expected = 0;
        for (std::size_t size = 1; size <= Classes::max_size; ++size) {
            if (size > Classes::size_of(expected)) ++expected;
            ASSERT_EQ(Classes::of(size), expected) << G::page << ' ' << G::line << ' ' << size;
            const std::size_t got = Classes::size_of(expected);
            ASSERT_TRUE(got >= size && (size <= 128 || (got - size) * 8 <= got) && (size <= 8 || got % 16 == 0)) << size;
            ASSERT_TRUE(!std::has_single_bit(size) || size < 8 || got == size) << size;
        }
        ASSERT_EQ(expected, Classes::count - 1);
    });
}

TEST(SizeClassTables, BlocksLieInTheirSlotAndHaveABit) {
    test::for_each_geometry([]<class G>() {
        for (const auto& shape : SizeClasses<G>::shapes(0)) {
            const std::size_t slot = std::size_t{1} << shape.slot_shift, used = std::size_t{shape.blocks} * shape.size;
            ASSERT_TRUE(used <= slot && slot <= G::chunk && shape.blocks >= 1 && shape.blocks <= G::map_bits) << shape.size;
            // Natural alignment: the slot is aligned to itself.
            const std::size_t alignment = shape.size & (~std::size_t{shape.size} + 1);
            ASSERT_LE(alignment, slot);
            // One word tells of all pages, or of all blocks.
            ASSERT_LE(shape.size < G::page ? (used + G::page - 1) / G::page : shape.blocks, 64u) << shape.size;
        }
    });
}

/// Whatever the offset in the slot, find() gives the block it lies in, and accepts the starts of blocks only.
TEST(Find, AcceptsExactlyTheStartsOfBlocks) {
    test::for_each_geometry([]<class G>() {
        using Classes = SizeClasses<G>;
        for (unsigned index = 0; index < Classes::count; ++index) {
            const auto shape = Classes::shape(index, 0);
            const std::size_t slot = std::size_t{1} << shape.slot_shift;
            if (slot > 1u << 21) continue;
            BlockAllocator<TestConfig<G>> block;
            auto* const base = reinterpret_cast<std::byte*>(G::chunk);
            block.create(shape, index, base, nullptr, false);
            std::size_t expected = 0, rest = 0;
            for (std::size_t offset = 0; offset < slot; ++offset) {
                const auto found = block.find(base + offset);
                ASSERT_TRUE(found.index == expected && found.exact == (rest == 0 && expected < shape.blocks))
                    << shape.size << ' ' << offset;
                if (++rest == shape.size) ++expected, rest = 0;
            }
        }
    });
}

/// Intrusive block allocators: at every place in a chunk exactly the blocks under the header are reserved.
TEST(Find, RejectsExactlyTheBlocksUnderAnIntrusiveHeader) {
    test::for_each_geometry([]<class G>() {
        using C = TestConfig<G>;
        using Classes = SizeClasses<G>;
        std::size_t slots = 0;
        for (unsigned index = 0; Classes::size_of(index) <= C::intrusive_max; ++index) {
            const auto shape = Classes::shape(index, C::intrusive_max);
            const std::size_t slot_bytes = std::size_t{1} << shape.slot_shift;
            const std::unique_ptr<std::byte, decltype(&std::free)> memory(static_cast<std::byte*>(std::aligned_alloc(G::chunk, G::chunk)),
                                                                          &std::free);
            for (std::byte* slot = memory.get(); slot != memory.get() + G::chunk; slot += slot_bytes, ++slots) {
                const auto place = intrusive_header(reinterpret_cast<std::uintptr_t>(slot), shape.slot_shift);
                const std::size_t first = place - reinterpret_cast<std::uintptr_t>(slot), end = first + sizeof(BlockAllocator<C>);
                ASSERT_LE(end, slot_bytes);
                auto* const block = ::new (reinterpret_cast<void*>(place)) BlockAllocator<C>;
                block->create(shape, index, slot, nullptr, false);
                for (unsigned i = 0; i < shape.blocks; ++i) {
                    const std::size_t from = std::size_t{i} * shape.size;
                    const bool under = from < end && first < from + shape.size;
                    ASSERT_EQ(block->find(slot + from).exact, !under) << shape.size << ' ' << i;
                    ASSERT_EQ(block->free_word(i / 64) >> (i % 64) & 1, under ? 0u : 1u) << shape.size << ' ' << i;
                }
            }
        }
        ASSERT_NE(slots, 0u);
    });
}

}  // namespace
}  // namespace mpmm
