// SPDX-License-Identifier: Apache-2.0
// The heap as a whole, in every geometry: random operations against a model, threads that pass blocks on, thread churn.
#include "heap/heap.hpp"
#include "configs.hpp"

#include <atomic>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace mpmm {
namespace {

template <class C>
class HeapTest : public ::testing::Test {
  protected:
    using H = Heap<C>;
    using G = typename C::Geometry;

    static std::size_t random_size(std::mt19937_64& random) {
        // Where chunks are long, touching long blocks is all the test would do: there they are few.
        const bool small_chunks = G::chunk <= 4096 * 1024;
        switch (random() % 16) {
            case 0: return random() % (small_chunks || random() % 32 == 0 ? 3 * G::chunk : 400000);
            case 1: return random() % (small_chunks || random() % 8 == 0 ? G::chunk / 2 : 400000);
            case 2:
            case 3: return random() % 40000;
            case 4: return 0;
            default: return random() % 600;
        }
    }
    static mpmm_stats stats() {
        mpmm_stats result{};
        H::stats(result);
        return result;
    }
    void TearDown() override {
        H::purge();
        EXPECT_EQ(H::verify(), 0u);
        EXPECT_EQ(stats().used_blocks, 0u) << "blocks are lost";
    }
};
TYPED_TEST_SUITE(HeapTest, test::Configs);

struct Pattern {
    std::size_t size;
    unsigned char value;
};

TYPED_TEST(HeapTest, RandomOperationsKeepContents) {
    using H = typename TestFixture::H;
    std::mt19937_64 random(1);
    std::map<unsigned char*, Pattern> live;
    const auto check = [](const unsigned char* block, const Pattern& pattern, std::size_t size) {
        for (std::size_t i = 0; i < size; i += i < 64 || i + 64 > size ? 1 : 97) ASSERT_EQ(block[i], pattern.value) << i << " of " << size;
    };
    const auto add = [&](void* memory, std::size_t size, bool resized = false) {
        ASSERT_NE(memory, nullptr);
        auto* const block = static_cast<unsigned char*>(memory);
        if (size >= 16) ASSERT_EQ(reinterpret_cast<std::uintptr_t>(block) % 16, 0u);
        if (!resized && std::has_single_bit(size) && size <= TestFixture::G::page)
            ASSERT_EQ(reinterpret_cast<std::uintptr_t>(block) % size, 0u);
        ASSERT_GE(H::usable_size(block), size);
        const auto after = live.lower_bound(block);
        if (after != live.end()) ASSERT_LE(block + size, after->first);
        if (after != live.begin()) ASSERT_LE(std::prev(after)->first + std::prev(after)->second.size, block);
        const Pattern pattern{size, static_cast<unsigned char>(random())};
        std::memset(block, pattern.value, size);
        ASSERT_TRUE(live.emplace(block, pattern).second);
    };
    for (int step = 0; step < 12000; ++step) {
        const std::size_t size = TestFixture::random_size(random);
        const auto some = [&] { return std::next(live.begin(), static_cast<long>(random() % live.size())); };
        if (live.size() < 20 || (live.size() < 400 && random() % 2 == 0)) {
            switch (random() % 4) {
                case 0: {
                    auto* const zeroed = static_cast<unsigned char*>(H::zalloc(size));
                    ASSERT_NE(zeroed, nullptr);
                    for (std::size_t i = 0; i < size; i += 61) ASSERT_EQ(zeroed[i], 0);
                    add(zeroed, size);
                    break;
                }
                case 1: {
                    const std::size_t alignment = std::size_t{1} << random() % 24;
                    void* const aligned = H::aligned(alignment, size, false);
                    ASSERT_EQ(reinterpret_cast<std::uintptr_t>(aligned) % alignment, 0u);
                    add(aligned, size);
                    break;
                }
                default: add(H::malloc(size), size);
            }
        } else if (random() % 3 == 0) {
            const auto [block, pattern] = *some();
            const bool move = random() % 2 == 0;
            auto* const moved = static_cast<unsigned char*>(H::realloc(block, size, move));
            if (move) ASSERT_NE(moved, nullptr);
            if (moved == nullptr) continue;
            check(moved, pattern, std::min(size, pattern.size));
            live.erase(block);
            add(moved, size, true);
        } else {
            const auto victim = some();
            check(victim->first, victim->second, victim->second.size);
            H::free(victim->first);
            live.erase(victim);
        }
        if (step % 3000 == 2999) {
            H::purge();
            ASSERT_EQ(H::verify(), 0u);
            std::size_t walked = 0;
            H::walk([](void*, std::size_t, void* count) { return ++*static_cast<std::size_t*>(count), 0; }, &walked);
            ASSERT_EQ(walked, live.size());
            ASSERT_EQ(TestFixture::stats().used_blocks, live.size());
        }
    }
    for (const auto& [block, pattern] : live) {
        check(block, pattern, pattern.size);
        H::free(block);
    }
}

/// Every block is allocated by one thread, checked and freed by another.
TYPED_TEST(HeapTest, ThreadsPassBlocksOn) {
    using H = typename TestFixture::H;
    constexpr int threads = 4, slots = 256;
    struct Block {
        std::size_t size;
        std::uint64_t value;
    };
    static std::atomic<Block*> table[slots];
    for (auto& slot : table) slot.store(nullptr);
    std::vector<std::thread> running;
    std::atomic<int> wrong{0};
    for (int t = 0; t < threads; ++t)
        running.emplace_back([&, t] {
            std::mt19937_64 random(static_cast<unsigned>(t));
            for (int i = 0; i < 15000; ++i) {
                const std::size_t size = std::max<std::size_t>(sizeof(Block) + 1, random() % 100 == 0 ? random() % 100000 : random() % 400);
                auto* const block = static_cast<Block*>(H::malloc(size));
                *block = {size, size * 31};
                std::memset(block + 1, static_cast<int>(size & 0xff), size - sizeof(Block));
                Block* const old = table[random() % slots].exchange(block, std::memory_order_acq_rel);
                if (old == nullptr) continue;
                const auto* const bytes = reinterpret_cast<const unsigned char*>(old + 1);
                if (old->value != old->size * 31 || bytes[0] != (old->size & 0xff) ||
                    bytes[old->size - sizeof(Block) - 1] != (old->size & 0xff))
                    ++wrong;
                H::free(old);
            }
        });
    for (auto& thread : running) thread.join();
    for (auto& slot : table)
        if (Block* const left = slot.exchange(nullptr); left != nullptr) H::free(left);
    EXPECT_EQ(wrong.load(), 0);
    H::flush();
}

TYPED_TEST(HeapTest, ThreadChurnReusesCaches) {
    using H = typename TestFixture::H;
    H::trim(0);
    const std::size_t before = TestFixture::stats().mapped_bytes;
    std::vector<void*> left;
    std::mutex mutex;
    for (int round = 0; round < 60; ++round) {
        std::thread([&] {
            std::vector<void*> own;
            for (std::size_t i = 0; i < 300; ++i) own.push_back(H::malloc(i));
            const std::lock_guard guard(mutex);
            for (std::size_t i = 0; i < own.size(); ++i)
                if (i % 50 == 0) left.push_back(own[i]);
                else H::free(own[i]);
        }).join();
    }
    EXPECT_LE(TestFixture::stats().thread_caches, 2u);
    const std::size_t mapped = TestFixture::stats().mapped_bytes;
    EXPECT_LE((mapped - before) / TestFixture::G::chunk, 64u);
    for (void* const block : left) H::free(block);
}

/// Traffic of any one size gives back what a peak of it left.
TYPED_TEST(HeapTest, EverySizesTrafficPurges) {
    using H = typename TestFixture::H;
    const auto expect_purge = [](std::size_t size, auto traffic) {
        std::vector<void*> peak;
        for (std::size_t bytes = 0; bytes < 8 * TestFixture::G::chunk; bytes += size) {
            peak.push_back(H::malloc(size));
            std::memset(peak.back(), 1, size);
        }
        void* const keep = H::malloc(size);
        options::set("decay_ms", 8, "86400000", 8);
        for (void* const block : peak) H::free(block);
        options::set("decay_ms", 8, "0", 1);
        const std::size_t before = TestFixture::stats().purged_bytes;
        for (int i = 0; i < 20000; ++i) traffic(size);
        EXPECT_NE(TestFixture::stats().purged_bytes, before) << size;
        H::free(keep);
    };
    for (const std::size_t size : {std::size_t{64}, std::size_t{1500}, std::size_t{3 * TestFixture::G::page}, TestFixture::G::chunk / 4})
        expect_purge(size, [](std::size_t n) { H::free(H::malloc(n)); });
    // Of batches that one word has.
    expect_purge(64, [](std::size_t n) {
        void* blocks[3];
        EXPECT_EQ(H::malloc_batch(n, 3, blocks), 3u);
        H::free_batch(3, blocks);
    });
    options::set("decay_ms", 8, "1000", 4);
}

/// Memory that comes and goes, of any size and as much as it may be, is not returned only to be faulted in again before the decay is over.
TYPED_TEST(HeapTest, WhatIsUsedAgainWithinTheDecayIsNotPurged) {
    using H = typename TestFixture::H;
    using G = typename TestFixture::G;
    H::purge();
    options::set("decay_ms", 8, "86400000", 8);
    const std::size_t before = TestFixture::stats().purged_bytes;
    for (const std::size_t size : {std::size_t{200}, G::page, G::chunk / 16, G::chunk / 3, 3 * G::chunk})
        for (int frame = 0; frame < 5; ++frame) {
            std::vector<void*> blocks;
            for (std::size_t bytes = 0; bytes < 8 * G::chunk; bytes += size) blocks.push_back(H::malloc(size));
            for (void* const block : blocks) H::free(block);
        }
    EXPECT_EQ(TestFixture::stats().purged_bytes, before);
    options::set("decay_ms", 8, "1000", 4);
}

/// What is freed beyond the limit goes back at once, however short it was unused.
TYPED_TEST(HeapTest, TheCacheKeepsNoMoreThanItsLimit) {
    using H = typename TestFixture::H;
    constexpr std::size_t chunk = TestFixture::G::chunk;
    H::trim(0);
    std::vector<void*> blocks;
    for (int i = 0; i < 8; ++i) blocks.push_back(H::malloc(2 * chunk));
    const auto cached = [] { return TestFixture::stats().cached_bytes; };
    const std::size_t before = cached();
    H::free(blocks[0]);
    H::free(blocks[1]);
    EXPECT_EQ(cached(), before + 4 * chunk) << "there is no limit";
    const std::string limit = std::to_string(3 * chunk);
    ASSERT_TRUE(options::set("cache_limit", 11, limit.data(), limit.size()));
    for (int i = 2; i < 8; ++i) {
        H::free(blocks[static_cast<std::size_t>(i)]);
        EXPECT_LE(cached(), 3 * chunk);
        EXPECT_GT(cached(), chunk) << "no more than has to";
    }
    options::set("cache_limit", 11, "18446744073709551615", 20);
}

TYPED_TEST(HeapTest, ImpossibleRequestsLeaveTheHeapWhole) {
    using H = typename TestFixture::H;
    void* const before = H::malloc(100);
    for (const std::size_t size : {std::size_t{PTRDIFF_MAX} + 1, ~std::size_t{0}, ~std::size_t{0} - 4095, std::size_t{PTRDIFF_MAX}}) {
        errno = 0;
        EXPECT_EQ(H::malloc(size), nullptr);
        EXPECT_EQ(errno, ENOMEM);
        EXPECT_EQ(H::zalloc(size), nullptr);
        EXPECT_EQ(H::aligned(64, size, false), nullptr);
        EXPECT_EQ(H::realloc(before, size, true), nullptr);
        EXPECT_EQ(H::realloc(before, size, false), nullptr);
    }
    EXPECT_EQ(H::aligned(SIZE_MAX / 2 + 1, 1, false), nullptr);
    EXPECT_EQ(H::round_size(~std::size_t{0}), 0u);
    EXPECT_EQ(H::usable_size(reinterpret_cast<void*>(~std::uintptr_t{0})), 0u);
    H::free(nullptr);
    H::free(before);
}

/// Whose memory the heap has given back too.
TYPED_TEST(HeapTest, ReallocSaysWhatFreedBlocksWere) {
    using H = typename TestFixture::H;
    static int foreign = 0;
    for (const std::size_t size : {std::size_t{100}, 3 * TestFixture::G::chunk}) {
        void* const block = H::malloc(size);
        H::free(block);
        EXPECT_DEATH(H::realloc(block, 10, true), "double-free on address");
        H::trim(0);
        // With a small block's memory went what was known of it, where its slot's header lies in the slot.
        EXPECT_DEATH(H::realloc(block, 10, true), size == 100 ? "-free on address" : "double-free on address");
    }
    EXPECT_DEATH(H::realloc(&foreign, 10, true), "invalid-free on address");
}

TYPED_TEST(HeapTest, DescribesAddresses) {
    using H = typename TestFixture::H;
    auto* const small = static_cast<std::byte*>(H::malloc(100));
    auto* const large = static_cast<std::byte*>(H::malloc(3 * TestFixture::G::chunk));
    auto info = H::describe(small + 7);
    EXPECT_EQ(info.kind, MPMM_ADDRESS_LIVE);
    EXPECT_EQ(info.block, small);
    EXPECT_EQ(info.offset, 7u);
    EXPECT_EQ(info.usable_size, H::usable_size(small));
    EXPECT_EQ(H::describe(small + info.usable_size).kind, MPMM_ADDRESS_FREE);
    EXPECT_EQ(H::describe(large + 5).offset, 5u);
    EXPECT_EQ(H::describe(&info).kind, MPMM_ADDRESS_FOREIGN);
    EXPECT_EQ(H::describe(nullptr).kind, MPMM_ADDRESS_FOREIGN);
    H::free(small);
    H::free(large);
    EXPECT_EQ(H::describe(small).kind, MPMM_ADDRESS_FREE);
    EXPECT_NE(H::describe(large).kind, MPMM_ADDRESS_LIVE);
}

}  // namespace
}  // namespace mpmm
