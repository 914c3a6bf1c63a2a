// SPDX-License-Identifier: Apache-2.0
#include "block/tenant_map.hpp"
#include "configs.hpp"
#include "support/unordered.hpp"

#include <algorithm>
#include <iterator>
#include <map>
#include <memory>
#include <thread>
#include <vector>

namespace mpmm {
namespace {

template <class C>
class ChunkMapTest : public ::testing::Test {
  protected:
    using G = typename C::Geometry;
    using Entries = TenantEntries<G>;
    Backend backend;
    Persistent<G> memory{backend};
    ChunkMap<G, Entries> tree{memory};

    static constexpr unsigned bits = G::pointer == 4 ? 32 : 48;
    static void* chunk(std::uintptr_t number) { return reinterpret_cast<void*>(number << G::chunk_shift); }
    static constexpr std::uintptr_t last = (std::uintptr_t{1} << (bits - G::chunk_shift)) - 1;
};
TYPED_TEST_SUITE(ChunkMapTest, test::Configs);

TYPED_TEST(ChunkMapTest, OddAddressesAreNotOurs) {
    using Entries = TenantEntries<typename TypeParam::Geometry>;
    for (const std::uintptr_t address : {std::uintptr_t{0}, std::uintptr_t{1}, ~std::uintptr_t{0}, std::uintptr_t{1} << (this->bits - 1),
                                         std::uintptr_t{2} << (this->bits - 1), ~std::uintptr_t{0} / 2 + 1,
                                         (std::uintptr_t{2} << (this->bits - 1)) - 1, static_cast<std::uintptr_t>(0xffff800000000000)})
        EXPECT_EQ(this->tree.find(reinterpret_cast<void*>(address)), Entries::none()) << std::hex << address;
}

TYPED_TEST(ChunkMapTest, SetsFindsAndForgets) {
    using G = typename TypeParam::Geometry;
    std::map<std::uintptr_t, std::byte*> model;
    std::byte objects[64];
    std::uint64_t random = 1;
    const std::uintptr_t bases[] = {1,
                                    255,
                                    256,
                                    std::min<std::uintptr_t>(65535, this->last / 2),
                                    std::min<std::uintptr_t>(65536, this->last / 3),
                                    this->last - 3,
                                    this->last};
    for (int round = 0; round < 3000; ++round) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        const std::uintptr_t base = bases[(random >> 33) % 7];
        const std::uintptr_t number = std::min(this->last, base + static_cast<std::uintptr_t>((random >> 40) % 4));
        ASSERT_TRUE(this->tree.reserve(this->chunk(number), 1));
        std::byte* const entry = (random >> 60) == 0 ? TenantEntries<G>::none() : objects + (random >> 50) % 64;
        this->tree.set(this->chunk(number), entry);
        model[number] = entry;
    }
    std::size_t live = 0;
    for (const auto& [number, entry] : model) {
        ASSERT_EQ(this->tree.find(this->chunk(number)), entry);
        ASSERT_EQ(this->tree.find(static_cast<std::byte*>(this->chunk(number)) + G::chunk - 1), entry);
        live += entry != TenantEntries<G>::none();
    }
    std::size_t seen = 0;
    this->tree.for_each([&](std::byte* address, std::byte* entry) {
        ++seen;
        ASSERT_EQ(model.at(reinterpret_cast<std::uintptr_t>(address) >> G::chunk_shift), entry);
    });
    EXPECT_EQ(seen, live);
    // From the top down, one after the other.
    std::uintptr_t from = ~std::uintptr_t{0};
    std::byte* entry = nullptr;
    while (std::byte* const found = this->tree.find_back(reinterpret_cast<void*>(from), entry)) {
        const auto address = reinterpret_cast<std::uintptr_t>(found);
        ASSERT_LE(address, from);
        ASSERT_EQ(model.at(address >> G::chunk_shift), entry);
        from = address - 1;
        --live;
    }
    EXPECT_EQ(live, 0u);
}

TYPED_TEST(ChunkMapTest, ReserveRefusesWhatIsBeyondTheAddressBits) {
    EXPECT_TRUE(this->tree.reserve(this->chunk(this->last), 1));
    EXPECT_FALSE(this->tree.reserve(this->chunk(this->last), 2));
    if (sizeof(void*) == 8) EXPECT_FALSE(this->tree.reserve(this->chunk(this->last + 1), 1));
}

/// Readers of chunks that come and go see either the entry or nothing.
TYPED_TEST(ChunkMapTest, ConcurrentInsertLookupAndRemoval) {
    using G = typename TypeParam::Geometry;
    std::byte objects[2];
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (std::uintptr_t t = 0; t < 2; ++t)
        threads.emplace_back([&, t] {
            for (std::uintptr_t i = 0; i < 4000; ++i) {
                void* const place = this->chunk(((i % 97) * 331 * 2) % (this->last - 1) + t);
                ASSERT_TRUE(this->tree.reserve(place, 1));
                this->tree.set(place, objects + t);
                ASSERT_EQ(this->tree.find(place), objects + t);
                this->tree.set(place, TenantEntries<G>::none());
            }
        });
    threads.emplace_back([&] {
        while (!stop.load())
            for (std::uintptr_t number = 0; number < 97 * 331 * 2; number += 331) {
                std::byte* const entry = this->tree.find(this->chunk(number % this->last));
                ASSERT_TRUE(entry == TenantEntries<G>::none() || entry == objects || entry == objects + 1);
            }
    });
    threads[0].join();
    threads[1].join();
    stop.store(true);
    threads[2].join();
}

/// The array of 32-bit machines behaves like the tree.
TYPED_TEST(ChunkMapTest, FlatMapOfA32BitSpace) {
    using G = typename TypeParam::Geometry;
    using Entries = TenantEntries<G>;
    const auto owner = std::make_unique<FlatMap<G, Entries>>(this->memory);
    FlatMap<G, Entries>& flat = *owner;
    constexpr std::uintptr_t count = std::uintptr_t{1} << (32 - G::chunk_shift);
    std::byte object;
    EXPECT_EQ(flat.find(this->chunk(count - 1)), Entries::none());
    EXPECT_EQ(flat.find(reinterpret_cast<void*>(~std::uintptr_t{0})), Entries::none());
    ASSERT_TRUE(flat.reserve(this->chunk(count - 1), 1));
    EXPECT_FALSE(flat.reserve(this->chunk(count - 1), 2));
    flat.set(this->chunk(count - 1), &object);
    EXPECT_EQ(flat.find(static_cast<std::byte*>(this->chunk(count - 1)) + G::chunk - 1), &object);
    std::size_t seen = 0;
    flat.for_each([&](std::byte* address, std::byte* entry) {
        ++seen;
        EXPECT_EQ(address, this->chunk(count - 1));
        EXPECT_EQ(entry, &object);
    });
    EXPECT_EQ(seen, 1u);
    std::byte* entry = nullptr;
    EXPECT_EQ(flat.find_back(static_cast<std::byte*>(this->chunk(count - 1)) + G::chunk - 1, entry), this->chunk(count - 1));
    EXPECT_EQ(entry, &object);
    EXPECT_EQ(flat.find_back(this->chunk(count - 2), entry), nullptr);
    flat.set(this->chunk(count - 1), Entries::none());
    EXPECT_EQ(flat.find(this->chunk(count - 1)), Entries::none());
}

/// Entries for chunks far apart, so that nodes of the tree differ too, found by one thread while another sets them.
template <class Entries, class Map>
void expect_complete_entries(Map& map, std::uintptr_t last_chunk, unsigned chunk_shift) {
    static std::uint64_t objects[300];
    const std::size_t count = std::min<std::size_t>(std::size(objects), last_chunk / 4);
    const auto chunk = [&](std::size_t i) { return reinterpret_cast<std::byte*>((1 + i * (last_chunk / (count + 1))) << chunk_shift); };
    const auto number_in = [](const std::byte* entry) { return *reinterpret_cast<const std::uint64_t*>(entry); };
    test::hand_over_unordered(
        count,
        [&](std::size_t i) {
            EXPECT_TRUE(map.reserve(chunk(i), 1));
            objects[i] = i + 1;
            map.set(chunk(i), reinterpret_cast<std::byte*>(&objects[i]));
            return i + 1;
        },
        [&](std::size_t i) {
            std::byte* entry = Entries::none();
            if (i % 2 == 0) entry = map.find(chunk(i - 1));
            else EXPECT_EQ(map.find_back(chunk(i - 1) + (std::uintptr_t{1} << chunk_shift), entry), chunk(i - 1));
            ASSERT_NE(entry, Entries::none());
            EXPECT_EQ(number_in(entry), i);
            if (i % 50 != 0) return;
            std::size_t seen = 0;
            map.for_each([&](std::byte*, std::byte* object) { seen += number_in(object) != 0 ? 1 : 0; });
            EXPECT_GE(seen, i);
        });
}

TYPED_TEST(ChunkMapTest, EntriesAreCompleteWhenTheyAreSeen) {
    using G = typename TypeParam::Geometry;
    expect_complete_entries<TenantEntries<G>>(this->tree, this->last, G::chunk_shift);
}

TYPED_TEST(ChunkMapTest, EntriesOfTheArrayAreCompleteWhenTheyAreSeen) {
    using G = typename TypeParam::Geometry;
    using Map = FlatMap<G, TenantEntries<G>>;
    const auto map = std::make_unique<Map>(this->memory);
    expect_complete_entries<TenantEntries<G>>(*map, (std::uintptr_t{1} << (32 - G::chunk_shift)) - 1, G::chunk_shift);
}

}  // namespace
}  // namespace mpmm
