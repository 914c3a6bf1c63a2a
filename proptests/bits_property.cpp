// SPDX-License-Identifier: Apache-2.0
// Words as sets of 64 numbers: the bit functions against std::bitset, and against loops over its members.
#include "platform/bits.hpp"

#include <bitset>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <utility>
#include <vector>

namespace mpmm {
namespace {

using Set = std::bitset<64>;
using Members = std::vector<unsigned>;
using Runs = std::vector<std::pair<unsigned, unsigned>>;

/// As bitmaps are: no, few or many runs of any length, or all but those. Shrinks towards the empty set.
Set any_set() {
    const auto edges = *rc::gen::container<Members>(rc::gen::inRange(0u, 64u));
    Set set;
    for (std::size_t i = 0; i < edges.size(); i += 2) {
        const unsigned from = edges[i], to = i + 1 < edges.size() ? edges[i + 1] : from;
        for (unsigned bit = std::min(from, to); bit <= std::max(from, to); ++bit) set.flip(bit);
    }
    return *rc::gen::inRange(0, 4) == 3 ? ~set : set;
}

Members members(const Set& set) {
    Members found;
    for (unsigned bit = 0; bit < 64; ++bit)
        if (set[bit]) found.push_back(bit);
    return found;
}

Runs runs(const Set& set) {
    Runs found;
    for (unsigned bit = 0; bit < 64; ++bit) {
        if (!set[bit]) continue;
        if (bit == 0 || !set[bit - 1]) found.emplace_back(bit, 0);
        ++found.back().second;
    }
    return found;
}

TEST(BitsProperty, MembersAreVisitedInOrder) {
    EXPECT_TRUE(rc::check("members are visited in order", [] {
        const Set set = any_set();
        const std::uint64_t word = set.to_ullong();
        Members seen;
        for_each_bit(word, [&](unsigned bit) { seen.push_back(bit); });
        RC_ASSERT(seen == members(set));
        RC_ASSERT(count_ones(word) == set.count());
        if (set.none()) return;
        RC_ASSERT(lowest_bit(word) == seen.front());
        RC_ASSERT(floor_log2(word) == seen.back());
    }));
}

TEST(BitsProperty, RunsAreWhole) {
    EXPECT_TRUE(rc::check("runs are whole", [] {
        const Set set = any_set();
        Runs seen;
        for_each_run(set.to_ullong(), [&](unsigned first, unsigned count) { seen.emplace_back(first, count); });
        RC_ASSERT(seen == runs(set));
    }));
}

/// Ranges that end at bit 64 and empty ones, which begin there, are as likely as all others.
TEST(BitsProperty, RangesAreIntervals) {
    EXPECT_TRUE(rc::check("ranges are intervals", [] {
        const unsigned first = *rc::gen::element(0u, 1u, 63u, 64u, *rc::gen::inRange(0u, 65u)), room = 64 - first;
        const unsigned count = *rc::gen::element(0u, room, *rc::gen::inRange(0u, room + 1)), part = *rc::gen::inRange(0u, count + 1);
        Set expected;
        for (unsigned bit = first; bit < first + count; ++bit) expected.set(bit);
        RC_ASSERT(Set(bit_range(first, count)) == expected);
        RC_ASSERT((bit_range(first, part) ^ bit_range(first + part, count - part)) == bit_range(first, count));
    }));
}

TEST(BitsProperty, TestAndSetInserts) {
    EXPECT_TRUE(rc::check("test and set inserts", [] {
        Set set = any_set();
        std::uint64_t word = set.to_ullong();
        for (const unsigned index : *rc::gen::container<Members>(rc::gen::inRange(0u, 1024u))) {
            RC_ASSERT(test_and_set(word, index) == set[index % 64]);
            set.set(index % 64);
            RC_ASSERT(Set(word) == set);
        }
    }));
}

TEST(BitsProperty, AlignmentIsDivision) {
    EXPECT_TRUE(rc::check("alignment is division", [] {
        const unsigned shift = *rc::gen::inRange(0u, 40u);
        const std::uintptr_t alignment = std::uintptr_t{1} << shift, multiple = *rc::gen::inRange<std::uintptr_t>(0, 1u << 20) << shift;
        // Anywhere between this multiple and the next one.
        const std::uintptr_t rest = *rc::gen::element<std::uintptr_t>(0, 1, alignment - 1, *rc::gen::inRange<std::uintptr_t>(0, alignment));
        const std::uintptr_t value = multiple + rest % alignment;
        RC_ASSERT(align_down(value, alignment) == value / alignment * alignment);
        RC_ASSERT(align_up(value, alignment) == (value / alignment + (value % alignment != 0)) * alignment);
        RC_ASSERT(is_aligned(value, alignment) == (value % alignment == 0));
    }));
}

}  // namespace
}  // namespace mpmm
