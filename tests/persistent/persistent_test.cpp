// SPDX-License-Identifier: Apache-2.0
#include "configs.hpp"
#include "persistent/persistent.hpp"
#include "support/unordered.hpp"

#include <cstring>
#include <map>

namespace mpmm {
namespace {

template <class C>
class PersistentTest : public ::testing::Test {};
TYPED_TEST_SUITE(PersistentTest, test::Configs);

TYPED_TEST(PersistentTest, GivesZeroedAlignedMemoryThatNeverOverlaps) {
    using G = typename TypeParam::Geometry;
    Backend backend;
    Persistent<G> persistent(backend);
    std::map<std::byte*, std::size_t> taken;
    std::size_t sum = 0;
    for (std::size_t i = 0; i < 600; ++i) {
        const std::size_t size = i % 50 == 49 ? 70 * G::page + i : 1 + i * 37 % 3000, alignment = std::size_t{1} << i % (G::page_shift + 1);
        auto* const memory = static_cast<std::byte*>(persistent.allocate(size, alignment));
        ASSERT_NE(memory, nullptr);
        ASSERT_EQ(reinterpret_cast<std::uintptr_t>(memory) % alignment, 0u);
        for (std::size_t at = 0; at < size; ++at) ASSERT_EQ(memory[at], std::byte{0});
        std::memset(memory, 0xAB, size);
        const auto after = taken.lower_bound(memory);
        if (after != taken.end()) ASSERT_LE(memory + size, after->first);
        if (after != taken.begin()) ASSERT_LE(std::prev(after)->first + std::prev(after)->second, memory);
        taken[memory] = size;
        sum += size;
    }
    EXPECT_EQ(persistent.used(), sum);
    EXPECT_EQ(persistent.allocate(PTRDIFF_MAX, 8), nullptr);
    EXPECT_EQ(persistent.allocate(~std::size_t{0}, 8), nullptr);
}

TYPED_TEST(PersistentTest, NeighboursDoNotOverlap) {
    using G = typename TypeParam::Geometry;
    Backend backend;
    Persistent<G> persistent(backend);
    ASSERT_NE(persistent.allocate(1, 1), nullptr);
    std::byte *begin = nullptr, *end = nullptr;
    persistent.for_each_range([&](std::uintptr_t from, std::uintptr_t to) {
        begin = reinterpret_cast<std::byte*>(from);
        end = reinterpret_cast<std::byte*>(to);
    });
    EXPECT_TRUE(persistent.overlaps(begin, 1));
    EXPECT_TRUE(persistent.overlaps(end - 1, 1));
    EXPECT_TRUE(persistent.overlaps(begin - 1, 2));
    EXPECT_FALSE(persistent.overlaps(begin - 1, 1));
    EXPECT_FALSE(persistent.overlaps(end, G::chunk));
}

TYPED_TEST(PersistentTest, RangesAreCompleteWhenTheyAreSeen) {
    using G = typename TypeParam::Geometry;
    Backend backend;
    Persistent<G> persistent(backend);
    test::hand_over_unordered(
        100, [&](std::size_t) { return persistent.allocate(40 * G::page, 64); },
        [&](void* memory) {
            EXPECT_TRUE(persistent.overlaps(memory, 1));
            persistent.for_each_range([](std::uintptr_t begin, std::uintptr_t end) { EXPECT_LT(begin, end); });
        });
}

}  // namespace
}  // namespace mpmm
