// SPDX-License-Identifier: Apache-2.0
// Both chunk maps against std::map: ranges of chunks, with the numbers where the levels of the tree meet, and a backend that has no memory.
#include "block/tenant_map.hpp"
#include "configs.hpp"
#include "pages.hpp"

#include <gtest/gtest.h>
#include <map>
#include <memory>
#include <ostream>
#include <rapidcheck.h>
#include <vector>

namespace mpmm {
namespace {

/// The chunks [first, first + count) change: to one of the objects each, in turn from this one on, or to nobody's.
struct Change {
    std::uintptr_t first = 0;
    std::size_t count = 0;
    unsigned object = 0;
    bool refused = false;  ///< the backend has no memory in the meantime
};
std::ostream& operator<<(std::ostream& out, const Change& change) {
    out << '[' << change.first << ", +" << change.count << ") = ";
    if (change.object == 0) out << "none";
    else out << change.object;
    return out << (change.refused ? ", no memory" : "");
}

template <class C>
class ChunkMapProperty : public ::testing::Test {};
TYPED_TEST_SUITE(ChunkMapProperty, test::Configs);

template <class G, template <class, class, unsigned> class Map, unsigned AddressBits>
struct Checked {
    using Entries = TenantEntries<G>;
    using Model = std::map<std::uintptr_t, std::byte*>;
    static constexpr std::uintptr_t count = std::uintptr_t{1} << (AddressBits - G::chunk_shift);
    static constexpr unsigned object_count = 64;
    static inline std::byte objects[object_count];

    test::Pages pages;
    Persistent<G> memory{pages.backend};
    std::unique_ptr<Map<G, Entries, AddressBits>> map = std::make_unique<Map<G, Entries, AddressBits>>(memory);
    Model model;

    /// Any bits of an address of the chunk.
    static const void* address(std::uintptr_t number, std::size_t within = 0) {
        return reinterpret_cast<const void*>((number << G::chunk_shift) + within % G::chunk);
    }
    static std::byte* entry(const Change& change, std::size_t i) {
        return change.object == 0 ? Entries::none() : objects + (change.object + i) % object_count;
    }
    std::byte* expected(std::uintptr_t number) const {
        const auto found = model.find(number);
        return found == model.end() ? Entries::none() : found->second;
    }

    static rc::Gen<Change> change() {
        // Near the edges of leaves and inner nodes, near both ends of the address space and beyond it, and anywhere.
        const auto edge =
            rc::gen::map(rc::gen::pair(rc::gen::inRange<std::uintptr_t>(0, 4), rc::gen::inRange<std::uintptr_t>(0, 18)),
                         [](const auto& parts) { return (std::uintptr_t{1} << parts.second) + parts.first - 2 + (parts.second == 0); });
        const auto number = rc::gen::oneOf(edge, rc::gen::map(edge, [](std::uintptr_t n) { return count - n % count; }),
                                           rc::gen::inRange<std::uintptr_t>(0, count));
        return rc::gen::build<Change>(
            rc::gen::set(&Change::first, number),
            rc::gen::set(&Change::count, rc::gen::oneOf(rc::gen::inRange<std::size_t>(1, 4), rc::gen::inRange<std::size_t>(1, 300))),
            rc::gen::set(&Change::object, rc::gen::inRange(0u, object_count)),
            rc::gen::set(&Change::refused, rc::gen::map(rc::gen::inRange(0, 4), [](int n) { return n == 3; })));
    }
    void apply(const Change& change) {
        const bool fits = change.first < count && change.count <= count - change.first;
        const unsigned refusals = pages.refusals;
        pages.refuses = change.refused;
        const bool reserved = map->reserve(address(change.first), change.count);
        pages.refuses = false;
        RC_ASSERT(reserved == (fits && pages.refusals == refusals));
        if (!fits) return;
        // What was refused changed nothing, and is there when the memory is.
        compare_around(change);
        if (!reserved) RC_ASSERT(map->reserve(address(change.first), change.count));
        for (std::size_t i = 0; i < change.count; ++i) {
            map->set(address(change.first + i, i), entry(change, i));
            if (change.object == 0) model.erase(change.first + i);
            else model[change.first + i] = entry(change, i);
        }
    }
    /// The range, and a chunk more at both ends.
    void compare_around(const Change& change) const {
        for (std::uintptr_t number = change.first - (change.first != 0); number <= change.first + change.count; ++number)
            for (const std::size_t within : {std::size_t{0}, G::chunk - 1})
                RC_ASSERT((map->find(address(number, within)) == (number < count ? expected(number) : Entries::none())));
    }
    void compare() const {
        Model seen;
        std::byte* before = nullptr;
        map->for_each([&](std::byte* chunk, std::byte* found) {
            RC_ASSERT((seen.empty() || before < chunk));
            before = chunk;
            seen[reinterpret_cast<std::uintptr_t>(chunk) >> G::chunk_shift] = found;
        });
        RC_ASSERT(seen == model);
    }
    /// Uses up the memory that is there without asking the backend, but for so many nodes of the tree.
    void leave(std::size_t nodes) {
        constexpr std::size_t node = 256 * sizeof(void*), all = 64 * G::page / node - 1;
        for (std::size_t i = nodes; i < all; ++i) RC_ASSERT((memory.allocate(node, alignof(void*)) != nullptr));
    }
    static void check() {
        const auto nodes = *rc::gen::inRange<std::size_t>(0, 8);
        const auto changes = *rc::gen::container<std::vector<Change>>(change());
        Checked checked;
        checked.leave(nodes);
        for (const Change& change : changes) checked.apply(change);
        for (const Change& change : changes) checked.compare_around(change);
        checked.compare();
    }
};

TYPED_TEST(ChunkMapProperty, TheTreeIsAMap) {
    EXPECT_TRUE(rc::check("the tree is a map", Checked<typename TypeParam::Geometry, DigitalTree, 48>::check));
}

TYPED_TEST(ChunkMapProperty, TheFlatMapIsAMap) {
    EXPECT_TRUE(rc::check("the flat map is a map", Checked<typename TypeParam::Geometry, FlatMap, 32>::check));
}

}  // namespace
}  // namespace mpmm
