// SPDX-License-Identifier: Apache-2.0
#include "largecache/large_cache.hpp"
#include "configs.hpp"
#include "support/waits.hpp"
#include "tcache/shared.hpp"

#include <map>
#include <vector>

namespace mpmm {
namespace {

template <class C>
class LargeCacheTest : public ::testing::Test {
  protected:
    using G = typename C::Geometry;
    using Cache = LargeCache<C>;
    Shared<C> shared{};
    Cache& large = shared.large;

    mpmm::Run& run(void* block) { return *static_cast<mpmm::Run*>(shared.locate(block)); }
    void free(void* block) { large.free(run(block), block); }
    std::vector<Extent> free_runs() {
        std::vector<Extent> runs;
        large.for_each_free([&](mpmm::Run& r) { runs.push_back(r.extent); });
        return runs;
    }
};
TYPED_TEST_SUITE(LargeCacheTest, test::Configs);

TYPED_TEST(LargeCacheTest, SplitsAndCoalesces) {
    using G = typename TypeParam::Geometry;
    void* const whole = this->large.allocate(8 * G::chunk, 1, false);
    ASSERT_NE(whole, nullptr);
    this->free(whole);
    ASSERT_EQ(this->free_runs().size(), 1u);
    std::vector<void*> parts;
    for (int i = 0; i < 8; ++i) parts.push_back(this->large.allocate(G::chunk, 1, false));
    EXPECT_TRUE(this->free_runs().empty()) << "eight single chunks come out of the freed eight";
    EXPECT_EQ(this->shared.backend.mapped() - 8 * G::chunk < G::chunk * 4, true);
    for (const int i : {1, 3, 5, 7}) this->free(parts[static_cast<std::size_t>(i)]);
    EXPECT_EQ(this->free_runs().size(), 4u);
    for (const int i : {0, 2, 4, 6}) this->free(parts[static_cast<std::size_t>(i)]);
    const auto runs = this->free_runs();
    ASSERT_EQ(runs.size(), 1u) << "all neighbours merged";
    EXPECT_EQ(runs[0].chunks, 8u);
    EXPECT_EQ(runs[0].base, whole);
    EXPECT_EQ(this->large.cached_bytes(), 8 * G::chunk);
    EXPECT_EQ(this->large.trim(0), 8 * G::chunk);
    EXPECT_EQ(this->shared.locate(whole)->owner().state(), OwnerState::foreign);
}

TYPED_TEST(LargeCacheTest, SizesAreReadUnderTheLock) {
    using G = typename TypeParam::Geometry;
    auto* const block = static_cast<std::byte*>(this->large.allocate(3 * G::chunk, 1, false));
    std::size_t size = 0;
    test::expect_to_wait([&] { this->large.lock().lock(); }, [&] { this->large.lock().unlock(); },
                         [&] { size = this->large.used_size(block); });
    EXPECT_EQ(size, 3 * G::chunk);
    this->free(block);
}

TYPED_TEST(LargeCacheTest, RandomRunsNeverOverlapAndAllComesBack) {
    using G = typename TypeParam::Geometry;
    std::map<std::byte*, std::size_t> live;
    std::uint64_t random = 42;
    for (int step = 0; step < 2000; ++step) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        if (live.size() < 20 && (random >> 62) != 0) {
            const std::size_t size = (random >> 33) % (6 * G::chunk) + 1;
            auto* const block = static_cast<std::byte*>(this->large.allocate(size, 1, false));
            ASSERT_NE(block, nullptr);
            ASSERT_EQ(reinterpret_cast<std::uintptr_t>(block) % G::chunk, 0u);
            const auto after = live.lower_bound(block);
            if (after != live.end()) ASSERT_LE(block + size, after->first);
            if (after != live.begin()) ASSERT_LE(std::prev(after)->first + std::prev(after)->second, block);
            live[block] = size;
            block[0] = block[size - 1] = std::byte{1};
        } else if (!live.empty()) {
            const auto victim = std::next(live.begin(), static_cast<long>((random >> 40) % live.size()));
            this->free(victim->first);
            live.erase(victim);
        }
    }
    for (const auto& [block, size] : live) this->free(block);
    EXPECT_EQ(this->large.used_bytes(), 0u);
    EXPECT_EQ(this->large.used_blocks(), 0u);
    this->large.trim(0);
    EXPECT_TRUE(this->free_runs().empty());
    EXPECT_LE(this->shared.backend.mapped(), 4 * 64 * G::page) << "only metadata is left";
}

TYPED_TEST(LargeCacheTest, ZeroedMemoryIsZeroAfterReuse) {
    using G = typename TypeParam::Geometry;
    for (int round = 0; round < 3; ++round) {
        auto* const block = static_cast<std::byte*>(this->large.allocate(2 * G::chunk, 1, true));
        for (std::size_t i = 0; i < 2 * G::chunk; i += 509) ASSERT_EQ(block[i], std::byte{0}) << round;
        for (std::size_t i = 0; i < 2 * G::chunk; i += 509) block[i] = std::byte{0xCC};
        this->free(block);
        if (round == 1) this->large.purge(~std::uint64_t{0}, 0);
    }
}

TYPED_TEST(LargeCacheTest, ResizesInPlaceAndGrowsByMoving) {
    using G = typename TypeParam::Geometry;
    auto* block = static_cast<std::byte*>(this->large.allocate(2 * G::chunk + 1, 1, false));
    block[0] = std::byte{1};
    block[2 * G::chunk] = std::byte{2};
    EXPECT_TRUE(this->large.resize(this->run(block), 3 * G::chunk)) << "the third chunk is its own already";
    EXPECT_FALSE(this->large.resize(this->run(block), 3 * G::chunk + 1));
    [[maybe_unused]] const std::size_t mapped = this->shared.backend.mapped();
    auto* const moved = static_cast<std::byte*>(this->large.grow_by_moving(this->run(block), 40 * G::chunk));
    if constexpr (!os::can_move) {
        EXPECT_EQ(moved, nullptr);
        EXPECT_EQ(this->shared.backend.mapped(), mapped) << "nothing is left of the try";
        this->free(block);
        return;
    }
    ASSERT_NE(moved, nullptr);
    EXPECT_EQ(moved[0], std::byte{1});
    EXPECT_EQ(moved[2 * G::chunk], std::byte{2});
    moved[40 * G::chunk - 1] = std::byte{3};
    EXPECT_EQ(this->shared.locate(block)->owner().state(), OwnerState::foreign);
    EXPECT_TRUE(this->large.resize(this->run(moved), G::page));
    EXPECT_EQ(moved[0], std::byte{1});
    EXPECT_EQ(this->large.used_bytes(), G::page);
    this->free(moved);
    EXPECT_EQ(this->large.used_bytes(), 0u);
}

TYPED_TEST(LargeCacheTest, PurgesAfterTheDelayAndReleasesLater) {
    using G = typename TypeParam::Geometry;
    auto* const block = static_cast<std::byte*>(this->large.allocate(2 * G::chunk, 1, false));
    block[0] = std::byte{1};
    this->free(block);
    const std::uint64_t now = os::now_ms();
    EXPECT_EQ(this->large.purge(now, 1000), 0u) << "too early";
    EXPECT_EQ(this->large.purge(now + 1100, 1000), 2 * G::chunk);
    EXPECT_EQ(this->large.purge(now + 1200, 1000), 0u) << "nothing twice";
    EXPECT_EQ(this->large.cached_bytes(), 2 * G::chunk);
    this->large.purge(now + 60000, 1000);
    EXPECT_EQ(this->large.cached_bytes(), 0u) << "the addresses went back as well";
}

TYPED_TEST(LargeCacheTest, OverAlignedAndImpossibleRequests) {
    using G = typename TypeParam::Geometry;
    void* const aligned = this->large.allocate(G::page, 4 * G::chunk, false);
    ASSERT_NE(aligned, nullptr);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(aligned) % (4 * G::chunk), 0u);
    this->free(aligned);
    EXPECT_EQ(this->large.allocate(PTRDIFF_MAX, 1, false), nullptr);
    EXPECT_EQ(this->large.allocate(~std::size_t{0}, 1, false), nullptr);
    EXPECT_EQ(this->large.allocate(1, SIZE_MAX / 2 + 1, false), nullptr);
    EXPECT_EQ(this->large.used_blocks(), 0u);
}

}  // namespace
}  // namespace mpmm
