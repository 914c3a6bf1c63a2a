// SPDX-License-Identifier: Apache-2.0
#include "verify/reachability.hpp"

#include "support/arena_finder.hpp"

#include <gtest/gtest.h>
#include <random>
#include <vector>

namespace mpmm {
namespace {

using test::ArenaFinder;
using Marking = Reachability<ArenaFinder>;

void mark(ArenaFinder& arena, std::vector<std::uint32_t> roots, bool no_stack = false, bool no_candidates = false,
          bool others_run = false) {
    Marking marking(arena, {others_run, true});
    ASSERT_TRUE(marking.ready());
    marking.forbid_growth(no_stack, no_candidates);
    std::vector<std::uintptr_t> words;
    for (const auto root : roots) words.push_back(arena.block(root).begin + 5);
    Marking::add_roots(&marking, words.data(), words.data() + words.size());
    marking.classify();
}

TEST(Reachability, DirectAndIndirect) {
    ArenaFinder arena(16);
    arena.point(1, 2), arena.point(2, 3, 7);                        // reachable from 1
    arena.point(6, 5), arena.point(5, 4);                           // a chain against the order of the blocks
    arena.point(8, 9), arena.point(9, 8);                           // a ring
    arena.point(12, 11), arena.point(11, 10), arena.point(10, 11);  // a ring that hangs on 12
    arena.point(13, 13);                                            // itself
    arena.point(14, 3);                                             // leads to what is reachable
    mark(arena, {1});
    for (const int i : {1, 2, 3}) EXPECT_EQ(arena[i], Reach::reachable) << i;
    for (const int i : {0, 6, 7, 12, 13, 14, 15}) EXPECT_EQ(arena[i], Reach::direct) << i;
    for (const int i : {4, 5, 10, 11}) EXPECT_EQ(arena[i], Reach::indirect) << i;
    EXPECT_EQ((arena[8] == Reach::direct) + (arena[9] == Reach::direct), 1);
    EXPECT_EQ((arena[8] == Reach::indirect) + (arena[9] == Reach::indirect), 1);
}

TEST(Reachability, WordsInsideAndOutside) {
    ArenaFinder arena(4);
    Marking marking(arena, {});
    const std::uintptr_t words[] = {arena.base() - 1, arena.base() + 127, arena.base() + arena.size(), 0, ~std::uintptr_t{0}};
    Marking::add_roots(&marking, std::begin(words), std::end(words));
    EXPECT_EQ(arena[1], Reach::reachable);
    EXPECT_EQ(arena[0], Reach::unseen);
    EXPECT_EQ(arena[2], Reach::unseen);
    marking.add_block(arena.block(3));
    EXPECT_EQ(arena[3], Reach::reachable);
    EXPECT_EQ(arena[0], Reach::unseen);
}

/// By definition, in quadratic time: a leak is right to be indirect if another leak leads to it.
void compare_with_definition(ArenaFinder& arena, const std::vector<std::vector<std::uint32_t>>& edges,
                             const std::vector<std::uint32_t>& roots, bool exact) {
    const std::uint32_t count = arena.count();
    std::vector<std::vector<bool>> leads(count, std::vector<bool>(count));
    const auto flood = [&](std::uint32_t from, std::vector<bool>& seen) {
        std::vector<std::uint32_t> open{from};
        while (!open.empty()) {
            const auto node = open.back();
            open.pop_back();
            for (const auto next : edges[node])
                if (!seen[next]) seen[next] = true, open.push_back(next);
        }
    };
    std::vector<bool> reachable(count);
    for (const auto root : roots) reachable[root] = true, flood(root, reachable);
    for (std::uint32_t i = 0; i < count; ++i) flood(i, leads[i]);
    for (std::uint32_t i = 0; i < count; ++i) {
        ASSERT_EQ(arena[i] == Reach::reachable, reachable[i]) << i;
        if (reachable[i]) continue;
        bool from_outside = false, ring_has_direct = arena[i] == Reach::direct;
        int direct_in_ring = arena[i] == Reach::direct;
        for (std::uint32_t j = 0; j < count; ++j) {
            if (j == i || reachable[j] || !leads[j][i]) continue;
            if (!leads[i][j]) from_outside = true;
            else if (arena[j] == Reach::direct) ring_has_direct = true, ++direct_in_ring;
        }
        if (from_outside && exact) {
            ASSERT_EQ(arena[i], Reach::indirect) << i;
        }
        if (!from_outside) {
            ASSERT_TRUE(ring_has_direct) << i;
        }
        ASSERT_LE(direct_in_ring, 1) << i;
        ASSERT_TRUE(arena[i] == Reach::direct || arena[i] == Reach::indirect);
    }
}

TEST(Reachability, RandomGraphsAgainstTheDefinition) {
    std::mt19937 random(7);
    for (int round = 0; round < 300; ++round) {
        const std::uint32_t count = 20 + random() % 180;
        ArenaFinder arena(count);
        std::vector<std::vector<std::uint32_t>> edges(count);
        const std::uint32_t total = random() % (2 * count);
        for (std::uint32_t e = 0; e < total; ++e) {
            const std::uint32_t from = random() % count, to = random() % count;
            if (edges[from].size() == 8) continue;
            arena.point(from, to, edges[from].size());
            edges[from].push_back(to);
        }
        std::vector<std::uint32_t> roots;
        for (std::uint32_t r = random() % 4; r > 0; --r) roots.push_back(random() % count);
        const bool no_stack = round % 3 == 1, no_candidates = round % 5 == 1;
        mark(arena, roots, no_stack, no_candidates, round % 7 == 1);
        compare_with_definition(arena, edges, roots, !no_candidates || count <= 64);
        if (HasFatalFailure()) FAIL() << "round " << round;
    }
}

TEST(Reachability, MillionsInOneChainAndInOneFan) {
    constexpr std::uint32_t count = 3'000'000;
    ArenaFinder arena(count, 16);
    for (std::uint32_t i = 0; i + 1 < count; ++i) arena.at(i, 0) = arena.block(i + 1).begin;
    mark(arena, {0});
    for (std::uint32_t i = 0; i < count; ++i) ASSERT_EQ(arena[i], Reach::reachable) << i;
    arena.forget();
    mark(arena, {count / 2});
    EXPECT_EQ(arena[0], Reach::direct);
    EXPECT_EQ(arena[count / 2 - 1], Reach::indirect);
    EXPECT_EQ(arena[count / 2], Reach::reachable);

    // A binary tree: the stack becomes as deep as the blocks are many.
    arena.forget();
    for (std::uint32_t i = 0; i < count; ++i)
        for (std::uint32_t child : {2 * i + 1, 2 * i + 2}) arena.at(i, child - 2 * i - 1) = child < count ? arena.block(child).begin : 0;
    mark(arena, {0});
    for (std::uint32_t i = 0; i < count; ++i) ASSERT_EQ(arena[i], Reach::reachable) << i;
}

TEST(Reachability, WithoutMemoryForItsStackNothingIsLost) {
    constexpr std::uint32_t count = 20'000, fan = 120;
    ArenaFinder arena(count, 1024);
    // Wider than the stack without more memory, against the order of the blocks, so that it overflows again and again.
    for (std::uint32_t i = 1; i < count; ++i) arena.point(count - 1 - (i - 1) / fan, count - 1 - i, (i - 1) % fan);
    mark(arena, {count - 1}, true, true);
    for (std::uint32_t i = 0; i < count; ++i) ASSERT_EQ(arena[i], Reach::reachable) << i;
}

TEST(Reachability, ProtectedAndUntouchedPagesOfLargeBlocks) {
    constexpr std::size_t large = std::size_t{64} << 20;
    ArenaFinder arena(6, large);
    arena.at(0, 0) = arena.block(1).begin;
    arena.at(0, 8000 / sizeof(void*)) = arena.block(2).begin;
    arena.at(0, large / sizeof(void*) - 1) = arena.block(3).begin;
    // The user protects a page in the middle of its own block.
    ASSERT_EQ(mprotect(&arena.at(0, 4096 / sizeof(void*)), 4096, PROT_NONE), 0);
    mark(arena, {0});
    EXPECT_EQ(arena[1], Reach::reachable);
    EXPECT_EQ(arena[2], Reach::direct);
    EXPECT_EQ(arena[3], Reach::reachable);
    EXPECT_EQ(arena[4], Reach::direct);
}

}  // namespace
}  // namespace mpmm
