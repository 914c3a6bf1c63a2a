// SPDX-License-Identifier: Apache-2.0
// The groups below the heap: thread caches, large cache, persistent memory, the backend; and memory that goes back to the system.
#include "api/api_support.hpp"
#include "support/resident.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>
#include <thread>

namespace mpmm::test {
namespace {

using ThreadCaches = ApiTest;
using LargeCacheGroup = ApiTest;
using PersistentGroup = ApiTest;
using BackendGroup = ApiTest;
using MemoryBack = ApiTest;

TEST_F(ThreadCaches, AreMadeAndGivenUp) {
    std::thread([] {
        const std::size_t before = stats().thread_caches;
        EXPECT_EQ(mpmm_tcache_init(), 0);
        EXPECT_EQ(stats().thread_caches, before + 1);
        EXPECT_EQ(mpmm_tcache_init(), 0) << "again is nothing";
        EXPECT_EQ(stats().thread_caches, before + 1);
        void* const block = mpmm_malloc(100);
        mpmm_tcache_release();
        EXPECT_EQ(stats().thread_caches, before);
        mpmm_free(block, 100);
        mpmm_tcache_release();
        mpmm_tcache_release();
        void* const next = mpmm_malloc(100);
        ASSERT_NE(next, nullptr);
        EXPECT_EQ(stats().thread_caches, before + 1) << "the next allocation makes one again";
        mpmm_free(next, 100);
    }).join();
    EXPECT_EQ(stats().thread_caches, 0u) << "given up at the thread's end";
}

TEST_F(ThreadCaches, TcacheMallocTakesNoNewMemory) {
    errno = 0;
    EXPECT_EQ(mpmm_tcache_malloc(64), nullptr) << "an empty cache has nothing";
    EXPECT_EQ(errno, ENOMEM);
    errno = 0;
    EXPECT_EQ(mpmm_tcache_malloc(chunk()), nullptr) << "large blocks are in no thread cache";
    EXPECT_EQ(errno, ENOMEM);
    std::set<void*> blocks{mpmm_malloc(64)};
    const std::size_t mapped = stats().mapped_bytes, allocators = stats().block_allocators;
    errno = 0;
    for (void* block = nullptr; (block = mpmm_tcache_malloc(64)) != nullptr;) {
        std::memset(block, 1, 64);
        ASSERT_TRUE(blocks.insert(block).second);
        ASSERT_LE(blocks.size(), 4096u) << "it takes from somewhere else";
    }
    EXPECT_EQ(errno, ENOMEM);
    EXPECT_GE(blocks.size(), 64u);
    EXPECT_EQ(stats().mapped_bytes, mapped);
    EXPECT_EQ(stats().block_allocators, allocators);
    for (std::size_t i = blocks.size() / 2; i != 0; --i) {
        mpmm_tcache_free(*blocks.begin(), 64);
        blocks.erase(blocks.begin());
    }
    void* const again = mpmm_tcache_malloc(64);
    EXPECT_NE(again, nullptr) << "what was freed is in the cache";
    mpmm_tcache_free(again, 64);
    for (void* const block : blocks) mpmm_tcache_free(block, 64);
}

TEST_F(ThreadCaches, FlushPublishesWhatAnotherThreadWaitsFor) {
    std::vector<void*> blocks(64 * 16);
    ASSERT_EQ(mpmm_malloc_batch(1024, blocks.size(), blocks.data()), blocks.size());
    const std::size_t mapped = stats().mapped_bytes;
    std::thread([&] {
        mpmm_free_batch(1024, blocks.size(), blocks.data());
        mpmm_tcache_flush();
        std::thread([&] { EXPECT_EQ(stats().used_blocks, 0u); }).join();
    }).join();
    mpmm_tcache_flush();
    ASSERT_EQ(mpmm_malloc_batch(1024, blocks.size(), blocks.data()), blocks.size());
    EXPECT_LE(stats().mapped_bytes, mapped + chunk()) << "the owner gets them back";
    mpmm_free_batch(1024, blocks.size(), blocks.data());
}

TEST_F(LargeCacheGroup, GivesWholeChunksAndKeepsThem) {
    for (const std::size_t size : Sizes{1, chunk(), chunk() + 1, 5 * chunk(), 50 * chunk()}) {
        auto* const block = static_cast<char*>(mpmm_lcache_malloc(size));
        ASSERT_NE(block, nullptr);
        EXPECT_TRUE(is_aligned(block, chunk()));
        EXPECT_GE(mpmm_usable_size(block), size);
        block[0] = block[size - 1] = 1;
        mpmm_lcache_free(block, size);
    }
    void* const first = mpmm_lcache_malloc(3 * chunk());
    mpmm_lcache_free(first, 3 * chunk());
    EXPECT_GE(stats().cached_bytes, 3 * chunk());
    const std::size_t mapped = stats().mapped_bytes;
    void* const second = mpmm_lcache_malloc(3 * chunk());
    EXPECT_EQ(stats().mapped_bytes, mapped) << "reused, not asked for anew";
    mpmm_lcache_free(second, 3 * chunk());
    const std::size_t cached = stats().cached_bytes;
    EXPECT_EQ(mpmm_lcache_purge(), cached);
    EXPECT_EQ(stats().cached_bytes, 0u);
    EXPECT_EQ(stats().mapped_bytes, mapped - cached);
    EXPECT_EQ(mpmm_lcache_purge(), 0u);
}

TEST_F(LargeCacheGroup, NeighboursMergeAndSplit) {
    // What a block takes besides itself: nothing in release, its redzones in verify.
    mpmm_lcache_free(mpmm_lcache_malloc(chunk()), chunk());
    const std::size_t part_run = stats().cached_bytes, more = part_run - chunk(), whole_size = 8 * part_run - more;
    if (!verify_build) EXPECT_EQ(more, 0u);
    mpmm_trim(0);
    void* const whole = mpmm_lcache_malloc(whole_size);
    mpmm_lcache_free(whole, whole_size);
    EXPECT_EQ(stats().cached_bytes, 8 * part_run);
    const std::size_t mapped = stats().mapped_bytes;
    for (int round = 0; round < 3; ++round) {
        void* parts[8];
        for (void*& part : parts) ASSERT_NE(part = mpmm_lcache_malloc(chunk()), nullptr);
        EXPECT_EQ(stats().cached_bytes, 0u) << "the run became parts";
        for (const int index : {0, 2, 4, 6, 7, 5, 3, 1}) mpmm_lcache_free(parts[index], chunk());
        void* const again = mpmm_lcache_malloc(whole_size);
        EXPECT_EQ(stats().mapped_bytes, mapped) << "the parts became one run again";
        EXPECT_EQ(stats().cached_bytes, 0u);
        mpmm_lcache_free(again, whole_size);
    }
}

TEST_F(PersistentGroup, IsZeroedAlignedAndNeverOverlaps) {
    const std::size_t used = mpmm_persistent_used();
    std::size_t asked = 0;
    std::vector<std::pair<unsigned char*, std::size_t>> pieces;
    for (std::size_t alignment = 1; alignment <= mpmm_backend_page_size(); alignment *= 2)
        for (const std::size_t size : Sizes{0, 1, 100, 5000, 300000, chunk()}) {
            auto* const memory = static_cast<unsigned char*>(mpmm_persistent_alloc(size, alignment));
            ASSERT_NE(memory, nullptr);
            ASSERT_TRUE(is_aligned(memory, alignment));
            ASSERT_TRUE(std::all_of(memory, memory + size, [](unsigned char byte) { return byte == 0; }));
            std::memset(memory, 0xee, size);
            pieces.emplace_back(memory, std::max<std::size_t>(size, 1));
            asked += size;
        }
    std::sort(pieces.begin(), pieces.end());
    for (std::size_t i = 1; i < pieces.size(); ++i) ASSERT_LE(pieces[i - 1].first + pieces[i - 1].second, pieces[i].first);
    EXPECT_GE(mpmm_persistent_used() - used, asked);
    EXPECT_EQ(stats().metadata_bytes, mpmm_persistent_used());
    EXPECT_EQ(mpmm_debugger_find(pieces[0].first).kind, MPMM_ADDRESS_FOREIGN) << "it is no heap block";
}

TEST_F(BackendGroup, GivesPages) {
    const std::size_t page = mpmm_backend_page_size();
    EXPECT_EQ(page & (page - 1), 0u);
    EXPECT_EQ(chunk() % page, 0u);
    const std::size_t mapped = stats().mapped_bytes;
    for (const std::size_t alignment : Sizes{0, 1, page, chunk(), 16 * chunk()}) {
        auto* const memory = static_cast<char*>(mpmm_backend_allocate(3 * page - 5, alignment));
        ASSERT_NE(memory, nullptr);
        EXPECT_TRUE(is_aligned(memory, std::max(alignment, page)));
        EXPECT_EQ(stats().mapped_bytes, mapped + 3 * page);
        std::memset(memory, 1, 3 * page);
        EXPECT_EQ(mpmm_backend_purge(memory, 2 * page), 0);
        EXPECT_EQ(memory[0], 0) << "the system's memory reads as zero after a purge";
        EXPECT_EQ(memory[2 * page], 1);
        EXPECT_EQ(mpmm_debugger_find(memory).kind, MPMM_ADDRESS_FOREIGN);
        EXPECT_EQ(mpmm_backend_deallocate(memory, 3 * page - 5), 0);
        EXPECT_EQ(stats().mapped_bytes, mapped);
    }
}

TEST_F(MemoryBack, PurgeReturnsThePagesOfFreedBlocks) {
    ASSERT_EQ(mpmm_set_option("purge", "0"), 0);  // no purge but the one asked for
    for (const std::size_t size : Sizes{64, 4096, 50000, 3 * chunk()}) {
        std::vector<void*> blocks(64 * chunk() / 8 / size + 1);
        ASSERT_EQ(mpmm_malloc_batch(size, blocks.size(), blocks.data()), blocks.size());
        for (void* const block : blocks) std::memset(block, 1, size);
        mpmm_free_batch(size, blocks.size(), blocks.data());
        const std::size_t before = stats().purged_bytes, purged = mpmm_purge();
        EXPECT_GE(purged, blocks.size() * size * 9 / 10) << size;
        EXPECT_EQ(stats().purged_bytes - before, purged);
        EXPECT_EQ(mpmm_purge(), 0u) << "nothing is left to purge";
    }
    mpmm_set_option("purge", "1");
}

TEST_F(MemoryBack, PurgeReturnsPageRunsBetweenLiveBlocks) {
    ASSERT_EQ(mpmm_set_option("purge", "0"), 0);
    constexpr std::size_t size = 256, count = 32768, run = 256;  // runs of 64 KiB, every fourth stays
    std::vector<void*> blocks(count);
    ASSERT_EQ(mpmm_malloc_batch(size, count, blocks.data()), count);
    for (void* const block : blocks) std::memset(block, 1, size);
    std::sort(blocks.begin(), blocks.end());
    for (std::size_t i = 0; i < count; ++i)
        if (i / run % 4 != 0) mpmm_free(blocks[i], size);
    mpmm_purge();
    std::size_t resident = 0;
    for (std::size_t first = 0; first < count; first += run)
        if (first / run % 4 != 0) resident += resident_pages(static_cast<char*>(blocks[first]) + 4096, (run - 32) * size);
    EXPECT_LE(resident * mpmm_backend_page_size(), count * size * 3 / 4 / 10) << "of the freed memory";
    for (std::size_t i = 0; i < count; ++i)
        if (i / run % 4 == 0) {
            EXPECT_EQ(static_cast<char*>(blocks[i])[size - 1], 1);
            mpmm_free(blocks[i], size);
        }
    mpmm_set_option("purge", "1");
}

TEST_F(MemoryBack, TrimReturnsAddressesButForWhatIsToBeKept) {
    mpmm_purge();  // so that none is left for the trims
    std::vector<void*> blocks(20), spacers(blocks.size());
    for (std::size_t i = 0; i < blocks.size(); ++i) {
        blocks[i] = mpmm_malloc(3 * chunk());
        spacers[i] = mpmm_malloc(chunk());  // keeps the neighbours from merging into one run
    }
    mpmm_free_batch(3 * chunk(), blocks.size(), blocks.data());
    const std::size_t cached = stats().cached_bytes, mapped = stats().mapped_bytes;
    EXPECT_GE(cached, 60 * chunk());
    EXPECT_EQ(mpmm_trim(cached / 2), 1);
    EXPECT_LE(stats().cached_bytes, cached / 2);
    EXPECT_GT(stats().cached_bytes, cached / 2 - chunk()) << "no more than that goes";
    EXPECT_EQ(mapped - stats().mapped_bytes, cached - stats().cached_bytes);
    EXPECT_EQ(mpmm_trim(0), 1);
    EXPECT_EQ(stats().cached_bytes, 0u);
    EXPECT_EQ(mpmm_trim(0), 0) << "nothing is left to release";
    mpmm_free_batch(chunk(), spacers.size(), spacers.data());
}

TEST_F(MemoryBack, TrimKeepsAPartOfALongRun) {
    mpmm_free(mpmm_malloc(30 * chunk()), 30 * chunk());
    const std::size_t cached = stats().cached_bytes;
    EXPECT_GE(cached, 30 * chunk());
    EXPECT_EQ(mpmm_trim(10 * chunk()), 1);
    EXPECT_EQ(stats().cached_bytes, 10 * chunk());
    // With room for verify's redzones.
    const std::size_t size = 10 * chunk() - 64;
    void* const block = mpmm_malloc(size);
    EXPECT_EQ(stats().cached_bytes, 0u) << "what was kept is used first";
    mpmm_free(block, size);
}

}  // namespace
}  // namespace mpmm::test
