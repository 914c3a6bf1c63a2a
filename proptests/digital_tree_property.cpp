// SPDX-License-Identifier: Apache-2.0
// The chunk map against std::map, with the addresses where its levels meet.
#include "block/tenant_map.hpp"
#include "configs.hpp"

#include <gtest/gtest.h>
#include <map>
#include <rapidcheck.h>

namespace mpmm {
namespace {

template <class C>
class DigitalTreeProperty : public ::testing::Test {};
TYPED_TEST_SUITE(DigitalTreeProperty, test::Configs);

TYPED_TEST(DigitalTreeProperty, IsAMap) {
    using G = typename TypeParam::Geometry;
    using Entries = TenantEntries<G>;
    static constexpr std::uintptr_t count = std::uintptr_t{1} << (48 - G::chunk_shift);
    static Backend backend;
    static Persistent<G> memory{backend};
    static DigitalTree<G, Entries> tree{memory};
    static std::byte objects[256];
    const auto address = [](std::uintptr_t number) { return reinterpret_cast<std::byte*>(number << G::chunk_shift); };

    EXPECT_TRUE(rc::check("the tree is a map", [&] {
        // Numbers near the edges of leaves and inner nodes, at both ends, and anywhere.
        const auto edge = rc::gen::map(rc::gen::pair(rc::gen::inRange<std::uintptr_t>(0, 18), rc::gen::inRange<std::uintptr_t>(0, 4)),
                                       [](const auto& parts) { return ((std::uintptr_t{1} << parts.first) - 2 + parts.second) % count; });
        const auto number = rc::gen::oneOf(edge, rc::gen::map(edge, [](std::uintptr_t n) { return count - 1 - n; }),
                                           rc::gen::inRange<std::uintptr_t>(0, count));
        const auto changes =
            *rc::gen::container<std::vector<std::pair<std::uintptr_t, unsigned>>>(rc::gen::pair(number, rc::gen::inRange(0u, 257u)));
        std::map<std::uintptr_t, std::byte*> model;
        for (const auto& [where, what] : changes) {
            std::byte* const entry = what == 256 ? Entries::none() : objects + what;
            RC_ASSERT(tree.reserve(address(where), 1));
            tree.set(address(where), entry);
            if (what == 256) model.erase(where);
            else model[where] = entry;
        }
        std::map<std::uintptr_t, std::byte*> seen;
        tree.for_each([&](std::byte* chunk, std::byte* entry) { seen[reinterpret_cast<std::uintptr_t>(chunk) >> G::chunk_shift] = entry; });
        for (const auto& [where, what] : changes) {
            const auto found = model.find(where);
            std::byte* const expected = found == model.end() ? Entries::none() : found->second;
            RC_ASSERT(tree.find(address(where)) == expected);
            RC_ASSERT(tree.find(reinterpret_cast<std::byte*>((where << G::chunk_shift) + G::chunk - 1)) == expected);
            for (const std::uintptr_t near : {(where + 1) % count, (where + count - 1) % count}) {
                const auto other = model.find(near);
                RC_ASSERT(tree.find(address(near)) == (other == model.end() ? Entries::none() : other->second));
            }
        }
        for (const auto& [where, what] : changes) tree.set(address(where), Entries::none());
        RC_ASSERT(seen == model);
        std::size_t left = 0;
        tree.for_each([&](std::byte*, std::byte*) { ++left; });
        RC_ASSERT(left == 0u);
    }));
}

}  // namespace
}  // namespace mpmm
