// SPDX-License-Identifier: Apache-2.0
// Words of bitmaps, whole and in halves: both do what 64 bits do, on every machine.
#include "platform/bitmap_word.hpp"

#include <gtest/gtest.h>
#include <thread>

namespace mpmm {
namespace {

template <class Word>
class BitmapWordTest : public ::testing::Test {
  protected:
    static std::uint64_t random(std::uint64_t& state) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        // Also words of which a half is empty or full.
        switch (state >> 60) {
            case 0: return state & 0xFFFFFFFF;
            case 1: return state << 32;
            case 2: return state | 0xFFFFFFFF;
            case 3: return 0;
            case 4: return all_ones;
            default: return state ^ state >> 29;
        }
    }
};
using Words = ::testing::Types<HalvedWord, Atomic<std::uint64_t>>;
TYPED_TEST_SUITE(BitmapWordTest, Words);

TYPED_TEST(BitmapWordTest, DoesWhat64BitsDo) {
    TypeParam word{0};
    std::uint64_t model = 0, state = 1;
    for (int i = 0; i < 20000; ++i) {
        const std::uint64_t bits = this->random(state);
        const auto index = static_cast<std::size_t>(bits >> 7 & 63);
        switch (state >> 40 & 7) {
            case 0:
                word.store(bits, relaxed);
                model = bits;
                break;
            case 1:
                ASSERT_EQ(word.fetch_or(bits, seq_cst) & bits, model & bits);
                model |= bits;
                break;
            case 2:
                ASSERT_EQ(word.fetch_and(bits, relaxed), model);
                model &= bits;
                break;
            case 3:
                ASSERT_EQ(word.exchange(bits, acquire), model);
                model = bits;
                break;
            case 4: {
                std::size_t lowest = 0;
                ASSERT_EQ(take_lowest(word, lowest), model != 0);
                if (model == 0) break;
                ASSERT_EQ(lowest, static_cast<std::size_t>(std::countr_zero(model)));
                model &= model - 1;
                break;
            }
            default: {
                auto& part = part_of(word, index);
                auto now = part.load(relaxed);
                ASSERT_EQ(test_and_set(now, index), (model >> index & 1) != 0);
                part.store(now, relaxed);
                model |= std::uint64_t{1} << index;
                ASSERT_EQ(is_full(word, now), model == all_ones);
            }
        }
        ASSERT_EQ(word.load(relaxed), model);
    }
}

/// Each thread sets and takes out its own bits; nobody's get lost.
TYPED_TEST(BitmapWordTest, ThreadsSetBitsOfOneWord) {
    TypeParam word{0};
    std::uint64_t taken = 0;
    std::thread threads[2];
    for (unsigned t = 0; t < 2; ++t)
        threads[t] = std::thread([&word, t] {
            for (unsigned bit = t; bit < 64; bit += 2) EXPECT_EQ(word.fetch_or(std::uint64_t{1} << bit, seq_cst) >> bit & 1, 0u);
        });
    for (int i = 0; i < 1000; ++i) {
        const std::uint64_t now = word.exchange(0, acquire);
        EXPECT_EQ(taken & now, 0u);
        taken |= now;
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(taken ^ word.load(relaxed), all_ones);
}

}  // namespace
}  // namespace mpmm
