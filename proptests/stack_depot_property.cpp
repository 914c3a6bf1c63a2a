// SPDX-License-Identifier: Apache-2.0
// The stack depot against std::map: one number for each stack and one stack for each number, for ever, and nothing lost without memory.
#include "verify/stack_depot.hpp"
#include "in_child.hpp"

#include <gtest/gtest.h>
#include <map>
#include <rapidcheck.h>
#include <set>
#include <sys/resource.h>
#include <vector>

namespace mpmm {
namespace {

using Frames = std::vector<std::uintptr_t>;

/// From few addresses, so that stacks begin and end alike, are each other's parts, and come again.
rc::Gen<Frames> any_stack() {
    const auto address = rc::gen::oneOf(rc::gen::inRange<std::uintptr_t>(0, 3), rc::gen::arbitrary<std::uintptr_t>());
    return rc::gen::oneOf(rc::gen::container<Frames>(address), rc::gen::container<Frames>(rc::gen::inRange<std::uintptr_t>(0, 2)));
}

Frames stored(std::uint32_t number) {
    const std::uintptr_t* frames = nullptr;
    const std::size_t count = stack_depot::get(number, frames);
    return {frames, frames + count};
}

TEST(StackDepotProperty, NumbersStandForStacks) {
    // Of all cases: the depot keeps them as well.
    static std::map<Frames, std::uint32_t> known;
    static std::set<std::uint32_t> numbers{0};
    EXPECT_TRUE(rc::check("numbers stand for stacks", [] {
        for (const Frames& whole : *rc::gen::container<std::vector<Frames>>(any_stack())) {
            const std::uint32_t number = stack_depot::put(whole.data(), whole.size());
            const Frames frames(whole.begin(),
                                whole.begin() + static_cast<std::ptrdiff_t>(std::min(whole.size(), stack_depot::max_frames)));
            RC_ASSERT(stored(number) == frames);
            RC_ASSERT((number == 0) == frames.empty());
            if (const auto [entry, fresh] = known.emplace(frames, number); fresh)
                RC_ASSERT(frames.empty() || numbers.insert(number).second);
            else RC_ASSERT(entry->second == number);
        }
    }));
    for (const auto& [frames, number] : known) ASSERT_EQ(stored(number), frames);
}

/// So many that some pairs have the same hash, for certain.
TEST(StackDepotProperty, HashesAreNotTrusted) {
    for (Frames frames{1, 0}; frames[1] < 400'000; ++frames[1]) ASSERT_EQ(stored(stack_depot::put(frames.data(), frames.size())), frames);
}

/// More stacks than there is memory for: those that got a number keep it, and the others get one later.
TEST(StackDepotProperty, WithoutMemoryThereIsNoNumber) {
    EXPECT_TRUE(rc::check("without memory there is no number", [] {
        const auto depth = *rc::gen::inRange<std::size_t>(48, stack_depot::max_frames + 1);
        const auto first = *rc::gen::arbitrary<std::uintptr_t>();
        test::in_child([&] {
            // More than a segment of the depot.
            constexpr std::size_t most = 2 * 256 * 1024 / 8 / 48, enough = 64;
            std::vector<std::uint32_t> numbers;
            numbers.reserve(most);
            Frames frames(depth, 1);
            rlimit limit{};
            RC_ASSERT(::getrlimit(RLIMIT_AS, &limit) == 0);
            const rlimit none{0, limit.rlim_max};
            const auto put = [&](std::size_t i) {
                frames[depth / 2] = first + i;
                return stack_depot::put(frames.data(), depth);
            };
            ::setrlimit(RLIMIT_AS, &none);
            std::size_t refused = 0;
            while (refused < enough && numbers.size() < most) {
                numbers.push_back(put(numbers.size()));
                refused += numbers.back() == 0;
            }
            ::setrlimit(RLIMIT_AS, &limit);
            RC_ASSERT(refused == enough);
            for (std::size_t i = 0; i < numbers.size(); ++i) {
                const std::uint32_t number = put(i);
                RC_ASSERT(number != 0u);
                RC_ASSERT(numbers[i] == 0u || numbers[i] == number);
            }
            for (std::size_t i = 0; i < numbers.size(); ++i) {
                frames[depth / 2] = first + i;
                RC_ASSERT(numbers[i] == 0u || stored(numbers[i]) == frames);
            }
        });
    }));
}

}  // namespace
}  // namespace mpmm
