// SPDX-License-Identifier: Apache-2.0
#include "platform/bits.hpp"

#include <gtest/gtest.h>
#include <vector>

namespace mpmm {
namespace {

TEST(Bits, AlignmentRoundsToMultiples) {
    EXPECT_EQ(align_up(0, 16), 0u);
    EXPECT_EQ(align_up(1, 16), 16u);
    EXPECT_EQ(align_up(16, 16), 16u);
    EXPECT_EQ(align_down(31, 16), 16u);
    EXPECT_TRUE(is_aligned(4096, 4096));
    EXPECT_FALSE(is_aligned(4097, 4096));
}

TEST(Bits, RangeCoversExactlyItsBits) {
    for (unsigned first = 0; first < 64; ++first)
        for (unsigned count = 0; first + count <= 64; ++count) {
            const std::uint64_t mask = bit_range(first, count);
            for (unsigned i = 0; i < 64; ++i) ASSERT_EQ((mask >> i & 1) != 0, i >= first && i < first + count) << first << ' ' << count;
        }
}

TEST(Bits, RunsRebuildTheWord) {
    std::uint64_t word = 0x9E3779B97F4A7C15u;
    for (int round = 0; round < 2000; ++round) {
        std::uint64_t rebuilt = 0;
        unsigned previous_end = 0;
        bool first_run = true;
        for_each_run(word, [&](unsigned first, unsigned count) {
            ASSERT_GT(count, 0u);
            if (!first_run) ASSERT_GT(first, previous_end) << "runs must be maximal";
            rebuilt |= bit_range(first, count);
            previous_end = first + count;
            first_run = false;
        });
        ASSERT_EQ(rebuilt, word);
        word = word * 6364136223846793005u + 1442695040888963407u;
        if (round % 3 == 0) word |= word << 7;
    }
    std::vector<unsigned> whole;
    for_each_run(all_ones, [&](unsigned first, unsigned count) { whole.insert(whole.end(), {first, count}); });
    EXPECT_EQ(whole, (std::vector<unsigned>{0, 64}));
}

TEST(Bits, TestAndSetTellsWhatItWas) {
    for (std::uint64_t index = 0; index < 130; ++index) {
        std::uint64_t word = 0;
        EXPECT_FALSE(test_and_set(word, index));
        EXPECT_EQ(word, std::uint64_t{1} << (index % 64));
        EXPECT_TRUE(test_and_set(word, index));
        EXPECT_EQ(lowest_bit(word), index % 64);
    }
}

}  // namespace
}  // namespace mpmm
