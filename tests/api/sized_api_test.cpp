// SPDX-License-Identifier: Apache-2.0
// The sized API: what blocks it gives, what stays in them, and what it does to errno.
#include "api/api_support.hpp"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <map>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace mpmm::test {
namespace {

using SizedApi = ApiTest;

TEST_F(SizedApi, VersionNamesTheMode) {
    EXPECT_EQ(std::string(mpmm_version()), std::string(MPMM_VERSION_EXPECTED) + (verify_build ? "+verify" : ""));
}

TEST_F(SizedApi, BlocksAreAlignedDistinctAndAsLargeAsRounded) {
    std::map<std::uintptr_t, std::size_t> live;
    for (const std::size_t size : many_sizes()) {
        void* const block = mpmm_malloc(size);
        ASSERT_NE(block, nullptr) << size;
        const std::size_t promised = size >= 16 ? 16 : std::bit_floor(std::max<std::size_t>(size, 1));
        ASSERT_TRUE(is_aligned(block, promised)) << size;
        if (std::has_single_bit(size) && size <= mpmm_backend_page_size()) ASSERT_TRUE(is_aligned(block, size)) << size;
        ASSERT_TRUE(is_aligned(block, mpmm_good_alignment(size))) << size;
        const std::size_t usable = mpmm_usable_size(block);
        ASSERT_GE(usable, size);
        ASSERT_EQ(usable, mpmm_round_size(size)) << size;
        std::memset(block, 0xa5, usable);
        const auto [place, fresh] = live.emplace(reinterpret_cast<std::uintptr_t>(block), usable);
        ASSERT_TRUE(fresh) << "two blocks at one address, size " << size;
        if (place != live.begin()) ASSERT_LE(std::prev(place)->first + std::prev(place)->second, place->first);
        if (std::next(place) != live.end()) ASSERT_LE(place->first + usable, std::next(place)->first);
    }
    for (const auto& [block, usable] : live) mpmm_free(reinterpret_cast<void*>(block), usable);
}

TEST_F(SizedApi, RoundedSizesAscendAndCostNoMore) {
    std::size_t before = 0;
    for (const std::size_t size : many_sizes()) {
        const std::size_t rounded = mpmm_round_size(size);
        EXPECT_GE(rounded, size);
        EXPECT_EQ(mpmm_round_size(rounded), rounded) << size;
        if (size > 128) EXPECT_LE((rounded - size) * 8, rounded + 8 * (size > chunk() / 2 ? mpmm_backend_page_size() : 0)) << size;
        if (size <= 1100) EXPECT_GE(rounded, before);
        before = rounded;
    }
}

TEST_F(SizedApi, EmptyBlocksAreDistinct) {
    std::set<void*> blocks;
    for (int i = 0; i < 2000; ++i) ASSERT_TRUE(blocks.insert(mpmm_malloc(0)).second);
    EXPECT_EQ(blocks.count(nullptr), 0u);
    for (void* const block : blocks) mpmm_free(block, 0);
}

TEST_F(SizedApi, ZeroedBlocksAreZeroWhateverWasThere) {
    for (const bool purge : {false, true})
        for (const std::size_t size : Sizes{1, 8, 40, 500, 5000, 40000, 300000, chunk(), 3 * chunk() + 5, 40 * chunk()})
            for (int round = 0; round < 3; ++round) {
                void* const dirty = mpmm_malloc(size);
                ASSERT_NE(dirty, nullptr);
                std::memset(dirty, 0xff, mpmm_usable_size(dirty));
                mpmm_free(dirty, size);
                if (purge) mpmm_purge();
                for (auto* const zeroed :
                     {static_cast<unsigned char*>(mpmm_zalloc(size)), static_cast<unsigned char*>(mpmm_aligned_zalloc(64, size))}) {
                    ASSERT_NE(zeroed, nullptr);
                    ASSERT_TRUE(std::all_of(zeroed, zeroed + size, [](unsigned char byte) { return byte == 0; })) << size << ' ' << purge;
                    std::memset(zeroed, 0xff, size);
                    mpmm_free(zeroed, size);
                }
            }
}

TEST_F(SizedApi, EveryAlignmentIsKept) {
    for (std::size_t alignment = 1; alignment <= 32 * chunk(); alignment *= 2)
        for (const std::size_t size : Sizes{0, 1, 17, 100, 4097, 70000, chunk() + 1}) {
            void* const blocks[] = {mpmm_aligned_alloc(alignment, size), mpmm_aligned_alloc(alignment, size),
                                    mpmm_aligned_zalloc(alignment, size)};
            for (void* const block : blocks) {
                ASSERT_NE(block, nullptr) << alignment << ' ' << size;
                EXPECT_TRUE(is_aligned(block, alignment)) << alignment << ' ' << size;
                EXPECT_GE(mpmm_usable_size(block), size);
                std::memset(block, 0x5a, std::min<std::size_t>(size, 70000));
            }
            for (void* const block : blocks) mpmm_free(block, size);
        }
}

TEST_F(SizedApi, AlignmentBeyondAChunkCostsNoMoreThanTheSize) {
    const std::size_t before = stats().used_bytes;
    void* const block = mpmm_aligned_alloc(64 * chunk(), 100);
    ASSERT_NE(block, nullptr);
    EXPECT_TRUE(is_aligned(block, 64 * chunk()));
    EXPECT_LE(stats().used_bytes - before, chunk());
    mpmm_free(block, 100);
}

TEST_F(SizedApi, ReallocKeepsContentsAcrossEveryBorder) {
    const std::vector<std::size_t> sizes{1,
                                         7,
                                         8,
                                         9,
                                         100,
                                         1000,
                                         1024,
                                         1025,
                                         4096,
                                         5000,
                                         40000,
                                         32768,
                                         200000,
                                         1048576,
                                         1048577,
                                         2 * chunk(),
                                         5 * chunk() + 1,
                                         40 * chunk(),
                                         70 * chunk()};
    const auto pattern = [](std::size_t i) { return static_cast<unsigned char>(i * 31 + i / 251); };
    for (const std::size_t from : sizes)
        for (const std::size_t to : sizes) {
            auto* block = static_cast<unsigned char*>(mpmm_malloc(from));
            ASSERT_NE(block, nullptr);
            // Whole contents of small ones, the places around page borders of long ones.
            const std::size_t step = from > 100000 ? 509 : 1, common = std::min(from, to);
            for (std::size_t i = 0; i < from; i += step) block[i] = pattern(i);
            block = static_cast<unsigned char*>(mpmm_realloc(block, from, to));
            ASSERT_NE(block, nullptr) << from << " to " << to;
            ASSERT_GE(mpmm_usable_size(block), to);
            for (std::size_t i = 0; i < common; i += step) ASSERT_EQ(block[i], pattern(i)) << from << " to " << to << " at " << i;
            block[to - 1] = 1;
            mpmm_free(block, to);
        }
}

TEST_F(SizedApi, ReallocOfNothingIsMalloc) {
    void* const block = mpmm_realloc(nullptr, 0, 77);
    ASSERT_NE(block, nullptr);
    EXPECT_GE(mpmm_usable_size(block), 77u);
    void* const empty = mpmm_realloc(block, 77, 0);
    ASSERT_NE(empty, nullptr) << "a block of no bytes is a block, as from mpmm_malloc(0)";
    mpmm_free(empty, 0);
}

TEST_F(SizedApi, FailedReallocLeavesTheBlock) {
    for (const std::size_t from : Sizes{10, 5000, 100000, 3 * chunk(), 40 * chunk()}) {
        auto* const block = static_cast<unsigned char*>(mpmm_malloc(from));
        std::memset(block, 0x3c, from);
        for (const std::size_t impossible : impossible_sizes) {
            errno = 0;
            EXPECT_EQ(mpmm_realloc(block, from, impossible), nullptr);
            EXPECT_EQ(errno, ENOMEM);
            EXPECT_EQ(mpmm_resize(block, from, impossible), 0);
        }
        EXPECT_TRUE(std::all_of(block, block + from, [](unsigned char byte) { return byte == 0x3c; }));
        EXPECT_GE(mpmm_usable_size(block), from);
        mpmm_free(block, from);
    }
}

TEST_F(SizedApi, ResizeStaysInPlaceOrChangesNothing) {
    for (const std::size_t from : Sizes{8, 100, 5000, 100000, 2 * chunk() - 5, 3 * chunk(), 40 * chunk()})
        for (const std::size_t to : Sizes{1, 8, 90, 5100, 100001, 2 * chunk(), 4 * chunk(), 39 * chunk(), 80 * chunk()}) {
            auto* const block = static_cast<unsigned char*>(mpmm_malloc(from));
            ASSERT_NE(block, nullptr);
            block[0] = 17;
            block[from - 1] = 18;
            const std::size_t usable = mpmm_usable_size(block);
            const int done = mpmm_resize(block, from, to);
            if (to <= usable) EXPECT_EQ(done, 1) << "a smaller size always fits: " << from << " to " << to;
            EXPECT_GE(mpmm_usable_size(block), done == 1 ? to : from);
            EXPECT_EQ(block[0], 17);
            if (done == 0) EXPECT_EQ(block[from - 1], 18);
            if (done == 1) block[to - 1] = 19;
            mpmm_free(block, done == 1 ? to : from);
        }
    EXPECT_EQ(mpmm_resize(nullptr, 0, 10), 0);
}

TEST_F(SizedApi, AnySizeUpToTheUsableOneFrees) {
    for (const std::size_t size : Sizes{0, 9, 100, 3000, 50000, chunk() + 1}) {
        void* const blocks[] = {mpmm_malloc(size), mpmm_malloc(size), mpmm_malloc(size)};
        mpmm_free(blocks[0], size);
        mpmm_free(blocks[1], mpmm_usable_size(blocks[1]));
        mpmm_free_unsized(blocks[2]);
    }
    mpmm_free(nullptr, 0);
    mpmm_free(nullptr, 100);
    mpmm_free_unsized(nullptr);
}

TEST_F(SizedApi, ErrnoIsKeptByEverySuccess) {
    std::vector<void*> blocks;
    for (const std::size_t size : Sizes{0, 20, 2000, 70000, 2 * chunk(), 50 * chunk()}) {
        errno = EDOM;
        void* block = mpmm_malloc(size);
        block = mpmm_realloc(block, size, size + size / 2 + 1);
        void* const zeroed = mpmm_zalloc(size);
        void* const aligned = mpmm_aligned_alloc(256, size);
        EXPECT_EQ(errno, EDOM) << size;
        mpmm_free_unsized(block);
        mpmm_free(zeroed, size);
        mpmm_free(aligned, size);
        mpmm_free(nullptr, size);
        EXPECT_EQ(errno, EDOM) << "free keeps errno, size " << size;
    }
    mpmm_purge();
    mpmm_trim(0);
    EXPECT_EQ(errno, EDOM);
}

/// In runs and out of them, with blocks of another thread and null pointers in between.
TEST_F(SizedApi, BatchesFreeInAnyOrder) {
    std::vector<void*> blocks(3000);
    ASSERT_EQ(mpmm_malloc_batch(48, 2000, blocks.data()), 2000u);
    std::thread other([&] { ASSERT_EQ(mpmm_malloc_batch(48, 900, blocks.data() + 2000), 900u); });
    other.join();
    std::mt19937_64 random(7);
    std::shuffle(blocks.begin() + 500, blocks.end(), random);
    std::reverse(blocks.begin(), blocks.begin() + 300);
    for (std::size_t done = 0; done < blocks.size(); done += 100) {
        mpmm_free_batch(48, 100, blocks.data() + done);
        const auto left = std::count_if(blocks.begin() + done + 100, blocks.end(), [](void* block) { return block != nullptr; });
        ASSERT_EQ(stats().used_blocks, static_cast<std::size_t>(left));
    }
    EXPECT_EQ(mpmm_verify_heap(), 0u);
}

TEST_F(SizedApi, BatchesReportWhatIsNoBlockOrFreeAlready) {
    std::vector<void*> blocks(200);
    ASSERT_EQ(mpmm_malloc_batch(48, blocks.size(), blocks.data()), blocks.size());
    void* const twice[] = {blocks[0], blocks[1], blocks[2], blocks[1]};
    EXPECT_DEATH(mpmm_free_batch(48, 4, twice), "double-free on address");
    void* const inside[] = {blocks[3], static_cast<char*>(blocks[4]) + 16};
    EXPECT_DEATH(mpmm_free_batch(48, 2, inside), "invalid-free on address");
    void* const foreign[] = {blocks[5], &blocks};
    EXPECT_DEATH(mpmm_free_batch(48, 2, foreign), "invalid-free on address");
    mpmm_free_batch(48, blocks.size(), blocks.data());
    EXPECT_DEATH(mpmm_free_batch(48, 1, &blocks[7]), "double-free on address");
}

TEST_F(SizedApi, BatchesAreWholeAndDistinct) {
    for (const std::size_t size : Sizes{0, 8, 48, 1500, 60000, chunk()}) {
        std::vector<void*> blocks(size > 10000 ? 20 : 1500);
        ASSERT_EQ(mpmm_malloc_batch(size, blocks.size(), blocks.data()), blocks.size());
        EXPECT_EQ(std::set<void*>(blocks.begin(), blocks.end()).size(), blocks.size());
        for (void* const block : blocks) ASSERT_GE(mpmm_usable_size(block), size);
        EXPECT_EQ(stats().used_blocks, blocks.size());
        mpmm_free_batch(size, blocks.size(), blocks.data());
        EXPECT_EQ(stats().used_blocks, 0u);
    }
    void* untouched = &untouched;
    EXPECT_EQ(mpmm_malloc_batch(10, 0, &untouched), 0u);
    EXPECT_EQ(untouched, &untouched);
    mpmm_free_batch(10, 0, &untouched);
}

}  // namespace
}  // namespace mpmm::test
