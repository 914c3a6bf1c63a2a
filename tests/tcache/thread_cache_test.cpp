// SPDX-License-Identifier: Apache-2.0
// Thread caches driven by hand: several caches in one OS thread, so that every hand-over happens exactly when the test says.
#include "tcache/cache_registry.hpp"
#include "configs.hpp"
#include "heap/heap.hpp"

#include <cstring>
#include <set>
#include <string>
#include <vector>

namespace mpmm {
namespace {

template <class C>
class ThreadCacheTest : public ::testing::Test {
  protected:
    using G = typename C::Geometry;
    using Cache = ThreadCache<C>;
    using Block = BlockAllocator<C>;
    using Classes = SizeClasses<G>;
    Shared<C> shared{};
    CacheRegistry<C> registry{};
    Cache& a = *registry.acquire(shared);
    Cache& b = *registry.acquire(shared);
    static constexpr std::size_t size = std::max<std::size_t>(64, G::line);
    static constexpr unsigned index = Classes::of(size);

    static void* take(Cache& cache, unsigned of = index) {
        void* block = nullptr;
        return cache.bin(of).take(block, cache.latest) ? block : cache.allocate_slow(of);
    }
    void give(Cache& cache, void* address) {
        Tenant* const tenant = shared.locate(address);
        auto& block = *static_cast<Block*>(tenant);
        const bool intrusive = Shared<C>::shapes[block.class_index].intrusive;
        using Freed = typename Cache::Freed;
        Freed freed = cache.free_latest(address);
        if (freed == Freed::not_here)
            freed = intrusive ? cache.template free_own<true, OwnerState::active>(address, tenant)
                              : cache.template free_own<false, OwnerState::active>(address, tenant);
        if (freed == Freed::not_here) freed = cache.free_foreign(address, tenant);
        if (freed == Freed::word_full) cache.word_became_full(&block);
        if (freed == Freed::overflow) cache.relieve();
        if (freed == Freed::not_here) cache.free_slow(block, address);
    }
    Block& block_of(void* address) { return *static_cast<Block*>(shared.locate(address)); }
    unsigned block_allocators() {
        unsigned count = 0;
        shared.for_each_block_allocator([&](Block&) { ++count; });
        return count;
    }
};
TYPED_TEST_SUITE(ThreadCacheTest, test::Configs);

TYPED_TEST(ThreadCacheTest, TakesTheLowestFreeBlockOfTheWord) {
    std::vector<void*> blocks;
    for (int i = 0; i < 40; ++i) blocks.push_back(this->take(this->a));
    this->give(this->a, blocks[20]);
    this->give(this->a, blocks[7]);
    this->give(this->a, blocks[33]);
    EXPECT_EQ(this->take(this->a), blocks[7]);
    EXPECT_EQ(this->take(this->a), blocks[20]);
    EXPECT_EQ(this->take(this->a), blocks[33]);
}

TYPED_TEST(ThreadCacheTest, FullBlockAllocatorWakesAtTheThreshold) {
    std::vector<void*> blocks{this->take(this->a)};
    auto& first = this->block_of(blocks[0]);
    while (&this->block_of(blocks.back()) == &first) blocks.push_back(this->take(this->a));
    EXPECT_EQ(first.owner().state(), OwnerState::full);
    for (unsigned i = 0; i + 1 < first.wake_threshold(); ++i) this->give(this->a, blocks[i]);
    EXPECT_EQ(first.owner().state(), OwnerState::full);
    this->give(this->a, blocks[first.wake_threshold() - 1]);
    EXPECT_EQ(first.owner().state(), OwnerState::active);
}

TYPED_TEST(ThreadCacheTest, RemoteFreesQueueItForItsOwner) {
    std::vector<void*> blocks{this->take(this->a)};
    auto& first = this->block_of(blocks[0]);
    while (&this->block_of(blocks.back()) == &first) blocks.push_back(this->take(this->a));
    const std::size_t in_first = blocks.size() - 1;
    for (std::size_t i = 0; i < in_first; ++i) this->give(this->b, blocks[i]);
    this->b.flush();
    EXPECT_EQ(first.owner().state(), OwnerState::queued);
    EXPECT_EQ(this->a.recovered.load(), &first);
    this->a.flush();
    EXPECT_EQ(first.owner().state(), OwnerState::active);
    EXPECT_TRUE(first.all_free());
    // And all of them are handed out again, none twice.
    std::set<void*> again;
    const unsigned before = this->block_allocators();
    for (std::size_t i = 0; i < in_first; ++i) EXPECT_TRUE(again.insert(this->take(this->a)).second);
    EXPECT_EQ(this->block_allocators(), before);
}

/// Big blocks: what is in memory already is used before more is touched, also for a smaller size; but not for half of the blocks at once.
TYPED_TEST(ThreadCacheTest, BorrowsFromALargerClassWhatIsInMemory) {
    using F = TestFixture;
    constexpr unsigned big = F::Classes::of(F::G::chunk / 8), small = big - F::Classes::per_doubling + 1;
    std::vector<void*> blocks;
    for (int i = 0; i < 7; ++i) blocks.push_back(this->take(this->a, big));
    auto& lender = this->block_of(blocks[0]);
    ASSERT_EQ(lender.blocks, 8);
    for (int i = 1; i < 7; ++i) this->give(this->a, blocks[i]);
    std::vector<void*> borrowed;
    for (int i = 0; i < 4; ++i) {
        borrowed.push_back(this->take(this->a, small));
        EXPECT_EQ(borrowed.back(), blocks[1 + i]);
        EXPECT_FALSE(this->a.last_was_clean());
    }
    void* const own = this->take(this->a, small);
    EXPECT_NE(&this->block_of(own), &lender);
    EXPECT_TRUE(this->a.last_was_clean());
    // What comes back is lent again, or goes to who wants all of it, who need not give back.
    this->give(this->a, borrowed[1]);
    this->give(this->a, borrowed[2]);
    EXPECT_EQ(this->take(this->a, big), borrowed[1]);
    EXPECT_EQ(this->take(this->a, small), borrowed[2]);
    EXPECT_EQ(this->take(this->a, small), blocks[5]);
    EXPECT_NE(&this->block_of(this->take(this->a, small)), &lender);
    // Pages that were given back are no better than the small class's own.
    this->give(this->a, borrowed[0]);
    this->a.purge(true);
    EXPECT_NE(this->take(this->a, small), borrowed[0]);
}

/// Power-of-two sizes are aligned to themselves, and aligned allocation counts on it.
TYPED_TEST(ThreadCacheTest, BorrowsNothingThatIsAlignedToLess) {
    using F = TestFixture;
    constexpr unsigned small = F::Classes::of(F::G::chunk / 8);
    std::vector<void*> blocks;
    for (unsigned i = 0; i < 3; ++i) blocks.push_back(this->take(this->a, small + 1));
    this->give(this->a, blocks[1]);
    this->give(this->a, blocks[2]);
    EXPECT_NE(&this->block_of(this->take(this->a, small)), &this->block_of(blocks[0]));
}

/// A thread that sleeps keeps no pages of blocks that others freed.
TYPED_TEST(ThreadCacheTest, RecoveredOnesArePurgedForASleepingOwner) {
    constexpr std::size_t big = 512;
    constexpr unsigned of = TestFixture::Classes::of(big);
    std::vector<void*> blocks{this->take(this->a, of)};
    auto& first = this->block_of(blocks[0]);
    while (&this->block_of(blocks.back()) == &first) blocks.push_back(this->take(this->a, of));
    const std::size_t in_first = blocks.size() - 1, kept = in_first / 2;
    std::memset(blocks[kept], 77, big);
    for (std::size_t i = 0; i < in_first; ++i)
        if (i != kept) this->give(this->b, blocks[i]);
    this->b.flush();
    EXPECT_EQ(first.owner().state(), OwnerState::queued);
    const std::size_t pages = std::size_t{first.blocks} * big / TestFixture::G::page;
    EXPECT_EQ(this->a.purge_recovered(false), 0u) << "the first pass only looks";
    const std::size_t purged = this->a.purge_recovered(false);
    if (pages > 2) EXPECT_GE(purged, (pages - 2) * TestFixture::G::page);
    EXPECT_EQ(this->a.purge_recovered(true), 0u) << "nothing is purged twice";
    EXPECT_EQ(static_cast<const unsigned char*>(blocks[kept])[big - 1], 77);
    this->a.flush();
    EXPECT_EQ(first.free_blocks(), in_first - 1);
}

TYPED_TEST(ThreadCacheTest, EmptyBlockAllocatorsGoBack) {
    std::vector<void*> blocks;
    for (int i = 0; i < 20000; ++i) blocks.push_back(this->take(this->a));
    const unsigned most = this->block_allocators();
    for (void* const block : blocks) this->give(this->a, block);
    EXPECT_LT(this->block_allocators(), most);
    this->a.purge(true);
    EXPECT_EQ(this->block_allocators(), 0u);
}

TYPED_TEST(ThreadCacheTest, OrphansAreAdopted) {
    std::vector<void*> blocks;
    for (int i = 0; i < 100; ++i) blocks.push_back(this->take(this->a));
    auto& block = this->block_of(blocks.back());
    this->a.retire_cache();
    EXPECT_EQ(block.owner().state(), OwnerState::orphan);
    void* const adopted = this->take(this->b);
    EXPECT_EQ(&this->block_of(adopted), &block);
    EXPECT_TRUE(block.owner().belongs_to(&this->b));
    this->give(this->b, adopted);
    for (void* const old : blocks) this->give(this->b, old);
    this->b.purge(true);
    EXPECT_EQ(this->block_allocators(), 0u);
}

TYPED_TEST(ThreadCacheTest, FullOnesOfADeadCacheAreRescued) {
    std::vector<void*> blocks{this->take(this->a)};
    auto& first = this->block_of(blocks[0]);
    while (&this->block_of(blocks.back()) == &first) blocks.push_back(this->take(this->a));
    void* const other = blocks.back();
    blocks.pop_back();
    this->a.retire_cache();
    EXPECT_EQ(first.owner().state(), OwnerState::full) << "nobody needs to touch it";
    for (std::size_t i = 0; i + 1 < blocks.size(); ++i) this->give(this->b, blocks[i]);
    this->b.flush();
    EXPECT_EQ(first.owner().state(), OwnerState::orphan);
    this->give(this->b, blocks.back());
    this->give(this->b, other);
    this->b.flush();
    this->shared.purge(~std::uint64_t{0}, 0);
    EXPECT_EQ(this->block_allocators(), 0u);
}

/// A push that saw the cache dead may arrive when the next thread has it already: the list is that thread's then.
TYPED_TEST(ThreadCacheTest, RescueLeavesARevivedCacheAlone) {
    std::vector<void*> blocks{this->take(this->a)};
    auto& first = this->block_of(blocks[0]);
    while (&this->block_of(blocks.back()) == &first) blocks.push_back(this->take(this->a));
    for (unsigned i = 0; i < first.wake_threshold(); ++i) this->give(this->b, blocks[i]);
    this->b.flush();
    ASSERT_EQ(first.owner().state(), OwnerState::queued);
    this->a.rescue();
    EXPECT_EQ(first.owner().state(), OwnerState::queued);
    EXPECT_EQ(this->a.recovered.load(), &first);
}

/// The last block of a block allocator of few blocks is followed by unused slot, whose bits look like those of used blocks.
TYPED_TEST(ThreadCacheTest, FreeBehindTheLastBlockIsReported) {
    options::set("halt_on_error", 13, "0", 1);
    using Classes = typename TestFixture::Classes;
    for (unsigned of = 0; of < Classes::count; ++of) {
        std::vector<void*> blocks{this->take(this->a, of)};
        auto& block = this->block_of(blocks[0]);
        while (&this->block_of(blocks.back()) == &block) blocks.push_back(this->take(this->a, of));
        void* const behind = block.address(block.blocks);
        if (&this->block_of(behind) == &block) {
            ::testing::internal::CaptureStderr();
            using Cache = ThreadCache<TypeParam>;
            const auto freed = this->a.template free_own<false, OwnerState::full>(behind, &block);
            EXPECT_EQ(freed, Cache::Freed::not_here) << block.size;
            EXPECT_EQ(this->b.free_foreign(behind, &block), Cache::Freed::not_here) << block.size;
            this->a.free_slow(block, behind);
            EXPECT_NE(::testing::internal::GetCapturedStderr().find("invalid-free"), std::string::npos) << block.size;
        }
        for (void* const each : blocks) this->give(this->a, each);
        this->a.purge(true);
    }
    options::set("halt_on_error", 13, "1", 1);
}

TYPED_TEST(ThreadCacheTest, PooledCacheInheritsItsFullBlockAllocators) {
    std::vector<void*> blocks{this->take(this->a)};
    auto& first = this->block_of(blocks[0]);
    while (&this->block_of(blocks.back()) == &first) blocks.push_back(this->take(this->a));
    this->a.retire_cache();
    this->registry.put_back(&this->a);
    EXPECT_EQ(this->registry.in_use(), 1u);
    auto* const revived = this->registry.acquire(this->shared);
    ASSERT_EQ(revived, &this->a);
    for (unsigned i = 0; i < first.wake_threshold(); ++i) this->give(*revived, blocks[i]);
    EXPECT_EQ(first.owner().state(), first.usable_state());
}

TYPED_TEST(ThreadCacheTest, LatestIsForgottenWithTheCache) {
    void* const block = this->take(this->a);
    this->a.retire_cache();
    EXPECT_EQ(this->a.free_latest(block), ThreadCache<TypeParam>::Freed::not_here);
    void* const again = this->take(this->b);
    this->b.purge(true);
    EXPECT_EQ(this->b.free_latest(again), ThreadCache<TypeParam>::Freed::not_here);
}

TYPED_TEST(ThreadCacheTest, CombiningBufferWithholdsLittle) {
    using Buffer = CombiningBuffer<TypeParam>;
    std::vector<void*> blocks;
    for (int i = 0; i < 30000; ++i) blocks.push_back(this->take(this->a));
    for (void* const block : blocks) this->give(this->b, block);
    std::size_t visible = 0;
    this->a.flush();
    this->shared.for_each_block_allocator([&](auto& block) { visible += (block.free_blocks() + block.remote_blocks()) * block.size; });
    EXPECT_GE(visible + Buffer::max_bytes, blocks.size() * TestFixture::size);
    this->b.flush();
    visible = 0;
    this->a.flush();
    this->shared.for_each_block_allocator([&](auto& block) { visible += (block.free_blocks() + block.remote_blocks()) * block.size; });
    EXPECT_GE(visible, blocks.size() * TestFixture::size) << "flush publishes everything";
}

/// Memory that comes and goes more often than passes do stays: purging it would only have it faulted in again.
TYPED_TEST(ThreadCacheTest, WhatIsUsedBetweenPassesIsNotPurged) {
    using G = typename TestFixture::G;
    for (const std::size_t each : {G::page / 4, G::page + 1, G::chunk / 8}) {
        const unsigned of = TestFixture::Classes::of(each);
        void* const keeps = this->take(this->a, of);
        const auto& block = this->block_of(keeps);
        std::size_t purged = 0;
        const auto use = [&] {
            std::vector<void*> blocks;
            for (unsigned i = 1; i < block.blocks; ++i) blocks.push_back(this->take(this->a, of));
            for (void* const used : blocks) this->give(this->a, used);
        };
        for (int pass = 0; pass < 10; ++pass) {
            use();
            purged += this->a.purge(false);
        }
        EXPECT_EQ(purged, 0u) << each;
        EXPECT_GT(this->a.purge(false), 0u) << each << ": unused from one pass to the next";
        this->give(this->a, keeps);
    }
}

/// Blocks of less than a cache line lie in one with blocks that their owner uses: who freed one for him must not write there for good.
TYPED_TEST(ThreadCacheTest, DoesNotTakePartsOfCacheLinesFromItsCombiningBuffer) {
    constexpr unsigned smaller = TestFixture::Classes::of(TypeParam::Geometry::line) - 1;
    std::vector<void*> blocks;
    for (int i = 0; i < 40; ++i) blocks.push_back(this->take(this->a, smaller));
    for (int i = 0; i < 10; ++i) this->give(this->b, blocks[static_cast<std::size_t>(i)]);
    void* const other = this->take(this->b, smaller);
    EXPECT_NE(&this->block_of(other), &this->block_of(blocks[0]));
    this->give(this->b, other);
    for (std::size_t i = 10; i < blocks.size(); ++i) this->give(this->a, blocks[i]);
}

/// One block at a time, each by the slow path, is worth less than what the bin's block allocator still has.
TYPED_TEST(ThreadCacheTest, TakesFewFromItsCombiningBufferLast) {
    std::vector<void*> blocks;
    for (int i = 0; i < 40; ++i) blocks.push_back(this->take(this->a));
    void* own = this->take(this->b);
    for (int i = 0; i < 3; ++i) this->give(this->b, blocks[static_cast<std::size_t>(i)]);
    std::vector<void*> taken{own};
    while (&this->block_of(own = this->take(this->b)) != &this->block_of(blocks[0])) taken.push_back(own);
    EXPECT_EQ(own, blocks[0]);
    EXPECT_EQ(taken.size(), this->block_of(taken[0]).blocks - this->block_of(taken[0]).reserved_count) << "before a new block allocator";
    this->give(this->b, own);
    for (void* const block : taken) this->give(this->b, block);
    for (std::size_t i = 3; i < blocks.size(); ++i) this->give(this->a, blocks[i]);
}

/// What a thread freed for another it may use itself, and what it does not use goes to the owner.
TYPED_TEST(ThreadCacheTest, TakesFromItsCombiningBuffer) {
    std::vector<void*> blocks;
    for (int i = 0; i < 40; ++i) blocks.push_back(this->take(this->a));
    auto& block = this->block_of(blocks[0]);
    for (int i = 0; i < 10; ++i) this->give(this->b, blocks[static_cast<std::size_t>(i)]);
    const unsigned before = block.remote_blocks();
    EXPECT_EQ(this->take(this->b), blocks[0]);
    EXPECT_EQ(this->take(this->b), blocks[1]);
    EXPECT_TRUE(block.owner().belongs_to(&this->a)) << "they stay the owner's";
    this->give(this->b, blocks[1]);
    EXPECT_EQ(this->take(this->b), blocks[1]);
    this->b.flush();
    EXPECT_EQ(block.remote_blocks(), before + 8);
    void* const other = this->take(this->b);
    EXPECT_NE(&this->block_of(other), &block) << "what is published is the owner's again";
    this->give(this->a, blocks[0]);
    this->give(this->a, blocks[1]);
    this->give(this->b, other);
}

TYPED_TEST(ThreadCacheTest, DoubleFreesAreFoundInTheCombiningBuffer) {
    options::set("halt_on_error", 13, "0", 1);
    std::vector<void*> blocks;
    for (int i = 0; i < 40; ++i) blocks.push_back(this->take(this->a));
    ::testing::internal::CaptureStderr();
    this->give(this->b, blocks[0]);
    this->give(this->b, blocks[0]);
    const std::string same_thread = ::testing::internal::GetCapturedStderr();
    EXPECT_NE(same_thread.find("double-free"), std::string::npos) << same_thread;
    ::testing::internal::CaptureStderr();
    this->give(this->b, blocks[5]);
    this->give(this->a, blocks[5]);
    void* const taken = this->take(this->b);
    EXPECT_EQ(taken, blocks[0]);
    const std::string owner_too = ::testing::internal::GetCapturedStderr();
    EXPECT_NE(owner_too.find("double-free"), std::string::npos) << owner_too;
    // Verify caught the second free as it came, so the block stayed where the first one put it.
    EXPECT_EQ(this->take(this->b) == blocks[5], TypeParam::Verify::enabled);
    options::set("halt_on_error", 13, "1", 1);
}

/// Each costs a slow path less: not only the right result, but on the quick way.
TYPED_TEST(ThreadCacheTest, FullOnesAndNeighboursOfHeadersAreFreedOnTheFastPath) {
    using Cache = typename TestFixture::Cache;
    std::vector<void*> blocks{this->take(this->a)};
    auto& block = this->block_of(blocks[0]);
    while (&this->block_of(blocks.back()) == &block) blocks.push_back(this->take(this->a));
    ASSERT_EQ(block.owner().state(), OwnerState::full);
    const bool intrusive = Shared<TypeParam>::shapes[TestFixture::index].intrusive;
    EXPECT_EQ((intrusive ? this->a.template free_own<true, OwnerState::full>(blocks[0], &block)
                         : this->a.template free_own<false, OwnerState::full>(blocks[0], &block)),
              Cache::Freed::done);
    // A block behind an intrusive header.
    void* small = this->take(this->a, 0);
    auto& with_header = this->block_of(small);
    if (with_header.reserved_count == 0) return;
    while (small != with_header.address(with_header.reserved_first + with_header.reserved_count)) {
        small = this->take(this->a, 0);
        ASSERT_EQ(&this->block_of(small), &with_header);
    }
    EXPECT_NE((this->a.template free_own<true, OwnerState::active>(small, &with_header)), Cache::Freed::not_here);
}

TYPED_TEST(ThreadCacheTest, LooksAtTheClockAsOftenAsItIsWorthIt) {
    const auto beats = [&] {
        int count = 0;
        while (!this->a.beat()) ++count;
        return count;
    };
    std::uint64_t now = 1000;
    this->a.rearm(now);
    for (int i = 0; i < 10; ++i) this->a.rearm(now);
    const int many = beats();
    EXPECT_GT(many, 1000) << "they are quick";
    this->a.rearm(now += 20);
    const int fewer = beats();
    EXPECT_LT(fewer, many);
    EXPECT_GT(fewer, many / 4);
    this->a.rearm(now += 1000);
    EXPECT_LE(beats(), 1) << "the program allocates little";
}

/// Found when the bin is aimed at the word, before the block could be handed out for either free.
TYPED_TEST(ThreadCacheTest, WhatOwnerAndAnotherFreeIsHandedOutOnce) {
    options::set("halt_on_error", 13, "0", 1);
    std::vector<void*> blocks;
    for (int i = 0; i < 70; ++i) blocks.push_back(this->take(this->a));
    void* const twice = blocks[3];
    ::testing::internal::CaptureStderr();
    this->give(this->b, twice);
    this->b.flush();
    this->give(this->a, twice);
    std::size_t times = 0;
    for (unsigned left = 2 * this->block_of(twice).blocks; left != 0; --left) times += this->take(this->a) == twice;
    const std::string text = ::testing::internal::GetCapturedStderr();
    EXPECT_NE(text.find("double-free"), std::string::npos) << text;
    EXPECT_EQ(times, 1u);
    options::set("halt_on_error", 13, "1", 1);
}

/// A bin takes from an entry of the combining buffer, the block allocator's record gets a life at another address, and a block of that one
/// comes into the entry: the bin must not look for it at the old address.
TYPED_TEST(ThreadCacheTest, CombiningBufferTellsTheLivesOfARecordApart) {
    void* const first = this->take(this->a);
    auto& block = this->block_of(first);
    std::byte* const base = block.base;
    this->give(this->b, first);
    ASSERT_EQ(this->take(this->b), first) << "from the buffer, which is empty now";
    this->give(this->a, first);
    this->a.purge(true);
    this->shared.purge(0, 0);
    void* const large = this->shared.large.allocate(TestFixture::G::chunk, 1, false);
    void* const second = this->take(this->a);
    ASSERT_EQ(&this->block_of(second), &block);
    if (block.base == base) GTEST_SKIP() << "chunks of intrusive block allocators keep their place";
    this->give(this->b, second);
    void* const third = this->take(this->b);
    EXPECT_EQ(third, second);
    this->give(this->a, third);
    this->shared.large.free(*static_cast<mpmm::Run*>(this->shared.locate(large)), large);
}

TYPED_TEST(ThreadCacheTest, WhatWaitsForABlockAllocatorThatIsGoneWasFreedTwice) {
    options::set("halt_on_error", 13, "0", 1);
    std::vector<void*> blocks{this->take(this->a)};
    auto& block = this->block_of(blocks[0]);
    while (&this->block_of(blocks.back()) == &block) blocks.push_back(this->take(this->a));
    ::testing::internal::CaptureStderr();
    this->give(this->b, blocks[0]);
    // Verify notices the second free here, release not before it loses its place.
    for (void* const each : blocks) this->give(this->a, each);
    this->b.flush();
    const std::string text = ::testing::internal::GetCapturedStderr();
    EXPECT_NE(text.find("double-free"), std::string::npos) << text;
    options::set("halt_on_error", 13, "1", 1);
}

TYPED_TEST(ThreadCacheTest, EveryClassGivesAndTakes) {
    for (unsigned of = 0; of < TestFixture::Classes::count; ++of) {
        std::set<void*> live;
        const unsigned rounds = TestFixture::Classes::size_of(of) > 65536 ? 40 : 700;
        for (unsigned i = 0; i < rounds; ++i) ASSERT_TRUE(live.insert(this->take(this->a, of)).second);
        unsigned i = 0;
        for (void* const block : live) this->give(++i % 2 != 0 ? this->a : this->b, block);
        this->b.flush();
        this->a.purge(true);
    }
    this->a.purge(true);
    this->b.purge(true);
    unsigned left = 0;
    this->shared.for_each_block_allocator(
        [&](auto& block) { left += block.blocks - block.reserved_count - block.free_blocks() - block.remote_blocks(); });
    EXPECT_EQ(left, 0u) << "blocks are lost";
}

}  // namespace
}  // namespace mpmm
