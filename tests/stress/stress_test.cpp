// SPDX-License-Identifier: Apache-2.0
// The whole heap under many threads, through the C API: blocks that change owner, threads that come and go, memory that stays bounded.
#include "stress/stress_support.hpp"
#include "support/unordered.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <pthread.h>
#include <thread>
#include <vector>

namespace mpmm::test {
namespace {

TEST_F(Stress, OwnershipMovesBetweenThreads) {
    constexpr int threads = 4, slots = 300;
    static std::array<std::atomic<Parcel*>, slots> table;
    std::atomic<int> wrong{0}, failed{0};
    const auto work = [&](unsigned number) {
        std::mt19937_64 random(number);
        for (int i = 0; i < 60000 / scale; ++i) {
            const std::size_t size = random_size(random);
            void* memory = nullptr;
            std::size_t alignment = 1;
            switch (random() % 4) {
                case 0: memory = mpmm_zalloc(size); break;
                case 1: memory = mpmm_aligned_alloc(alignment = std::size_t{1} << random() % 14, size); break;
                default: memory = mpmm_malloc(size);
            }
            if (memory == nullptr || reinterpret_cast<std::uintptr_t>(memory) % alignment != 0) {
                ++failed;
                continue;
            }
            auto* const parcel = ::new (memory) Parcel{size, random()};
            parcel->fill(sizeof(Parcel));
            Parcel* old = table[random() % slots].exchange(parcel, std::memory_order_acq_rel);
            if (old == nullptr) continue;
            if (!old->whole(old->size)) ++wrong;
            if (random() % 4 == 0) {
                // Whoever has it may change its size as well.
                const std::size_t before = old->size, after = random_size(random);
                auto* const moved = static_cast<Parcel*>(mpmm_realloc(old, before, after));
                if (moved == nullptr) {
                    ++failed;
                } else {
                    old = moved;
                    // How far apart the checked bytes are depends on the size it had.
                    if (!old->whole(std::min(before, after))) ++wrong;
                    old->size = after;
                }
            }
            mpmm_free(old, old->size);
            if (random() % 5000 == 0) mpmm_purge();
        }
    };
    std::vector<std::thread> running;
    for (unsigned t = 0; t < threads; ++t) running.emplace_back(work, t);
    for (std::thread& thread : running) thread.join();
    for (auto& slot : table)
        if (Parcel* const left = slot.exchange(nullptr); left != nullptr) {
            wrong += !left->whole(left->size);
            mpmm_free(left, left->size);
        }
    EXPECT_EQ(wrong.load(), 0);
    EXPECT_EQ(failed.load(), 0);
}

/// Large blocks lie side by side and merge when they are free, whoever frees them at the same moment.
TEST_F(Stress, LargeNeighboursAreFreedTogether) {
    std::atomic<int> wrong{0};
    const auto work = [&](std::uint64_t number) {
        std::mt19937_64 random(number);
        struct Held {
            std::uint64_t* block;
            std::size_t words;
        };
        std::array<Held, 6> held{};
        for (int i = 0; i < 40000 / scale; ++i) {
            Held& slot = held[random() % held.size()];
            if (slot.block != nullptr) {
                for (const std::size_t at : {std::size_t{0}, slot.words / 2, slot.words - 1})
                    wrong += slot.block[at] != number + slot.words;
                mpmm_free(slot.block, slot.words * 8);
            }
            slot.words = (random() % 4 + 1) * mpmm_backend_chunk_size() / 8;
            slot.block = static_cast<std::uint64_t*>(mpmm_malloc(slot.words * 8));
            for (const std::size_t at : {std::size_t{0}, slot.words / 2, slot.words - 1}) slot.block[at] = number + slot.words;
        }
        for (const Held& slot : held) mpmm_free_unsized(slot.block);
    };
    std::vector<std::thread> running;
    for (std::uint64_t t = 1; t <= 4; ++t) running.emplace_back(work, t << 32);
    for (std::thread& thread : running) thread.join();
    EXPECT_EQ(wrong.load(), 0);
}

/// Threads that leave blocks behind, which others free: nothing may add up.
TEST_F(Stress, TenThousandThreadsComeAndGo) {
    constexpr int total = 10000, together = 4;
    std::mutex mutex;
    std::vector<std::pair<void*, std::size_t>> left;
    std::atomic<int> failed{0};
    std::size_t mapped = 0, in_memory = 0;
    const auto work = [&](int number) {
        void* own[40];
        for (std::size_t i = 0; i < 40; ++i) {
            const std::size_t size = (i * 37 + static_cast<std::size_t>(number)) % 3000 + 1;
            if ((own[i] = mpmm_malloc(size)) == nullptr) ++failed;
            else std::memset(own[i], number, size);
        }
        const std::lock_guard guard(mutex);
        for (void* const block : own) left.emplace_back(block, mpmm_usable_size(block));
    };
    for (int number = 0; number < total; number += together) {
        std::vector<std::thread> running;
        for (int t = 0; t < together; ++t) running.emplace_back(work, number + t);
        for (std::thread& thread : running) thread.join();
        // A few stay behind for the next round.
        while (left.size() > 100) {
            mpmm_free(left.back().first, left.back().second);
            left.pop_back();
        }
        if (number == 1000) {
            mapped = stats().mapped_bytes;
            in_memory = resident();
        }
    }
    EXPECT_EQ(failed.load(), 0);
    EXPECT_LE(stats().thread_caches, 1u);
    // Less than a page for each thread since: which thread takes over what is chance, and costs a few chunks of addresses.
    EXPECT_LE(stats().mapped_bytes, mapped + 32 * mib + withheld());
    EXPECT_LE(resident(), in_memory + 16 * mib + withheld());
    for (const auto& [block, size] : left) mpmm_free(block, size);
}

/// Threads without a cache of their own, and threads that free when their cache has ended: nothing may stay behind in their names.
TEST_F(Stress, ThreadsThatOnlyFreeLeaveNothing) {
    constexpr int total = 6000;
    constexpr std::size_t size = 300;
    static pthread_key_t late;
    ASSERT_EQ(::pthread_key_create(&late, [](void* block) { mpmm_free(block, size); }), 0);
    static void* blocks[20];
    const auto only_free = [](void*) -> void* {
        mpmm_free_batch(size, 10, blocks);
        // The key is younger than the allocator's: its destructor runs later.
        ::pthread_setspecific(late, blocks[10]);
        return nullptr;
    };
    std::size_t mapped = 0, in_memory = 0;
    for (int number = 0; number < total; ++number) {
        ASSERT_EQ(mpmm_malloc_batch(size, 11, blocks), 11u);
        // std::thread would allocate.
        pthread_t thread;
        ASSERT_EQ(::pthread_create(&thread, nullptr, only_free, nullptr), 0);
        ASSERT_EQ(::pthread_join(thread, nullptr), 0);
        if (number == total / 6) {
            mapped = stats().mapped_bytes;
            in_memory = resident();
        }
    }
    ASSERT_EQ(::pthread_key_delete(late), 0);
    EXPECT_EQ(stats().used_blocks, 0u);
    EXPECT_LE(stats().mapped_bytes, mapped + 4 * mib + withheld());
    EXPECT_LE(resident(), in_memory + 4 * mib + withheld());
    mpmm_trim(0);
    EXPECT_EQ(stats().block_allocators, 0u) << "freed blocks that nobody can find any more";
}

/// A bounded queue between threads, without allocations of its own.
class Channel {
  public:
    void push(void* item) {
        std::unique_lock lock(mutex_);
        not_full_.wait(lock, [this] { return count_ < items_.size(); });
        items_[(first_ + count_++) % items_.size()] = item;
        not_empty_.notify_one();
    }
    void* pop() {
        std::unique_lock lock(mutex_);
        not_empty_.wait(lock, [this] { return count_ != 0; });
        void* const item = items_[first_];
        first_ = (first_ + 1) % items_.size();
        --count_;
        not_full_.notify_one();
        return item;
    }

  private:
    std::mutex mutex_;
    std::condition_variable not_full_, not_empty_;
    std::array<void*, 1000> items_{};
    std::size_t first_ = 0, count_ = 0;
};

TEST_F(Stress, AConsumerThatNeverAllocatesKeepsMemoryBounded) {
    for (const std::size_t size : {std::size_t{24}, std::size_t{600}, std::size_t{20000}}) {
        const std::size_t count = std::min<std::size_t>(600000, 4000 * mib / size) / scale;
        auto channel = std::make_unique<Channel>();
        const std::size_t mapped = stats().mapped_bytes, in_memory = resident();
        std::thread consumer([&] {
            while (void* const block = channel->pop()) mpmm_free(block, size);
        });
        for (std::size_t i = 0; i < count; ++i) {
            void* const block = mpmm_malloc(size);
            ASSERT_NE(block, nullptr);
            std::memset(block, 1, std::min<std::size_t>(size, 64));
            channel->push(block);
        }
        // A thousand blocks are under way, and as many may wait to be published or woken.
        const std::size_t bound = 3000 * size + 12 * mib + withheld();
        EXPECT_LE(stats().mapped_bytes, mapped + bound) << size;
        EXPECT_LE(resident(), in_memory + bound) << size;
        channel->push(nullptr);
        consumer.join();
        mpmm_tcache_flush();
    }
}

// Only what is in memory tells here, which sanitizers keep from counting.
#ifndef MPMM_TEST_SANITIZED
/// The producer has gone to sleep for good when its blocks are freed: what it will never look at again must not stay in memory.
TEST_F(Stress, AnIdleProducersMemoryComesBack) {
    ASSERT_EQ(mpmm_set_option("decay_ms", "20"), 0);
    constexpr std::size_t rounds = 6, size = 1000, count = 24 * mib / size;
    std::atomic<bool> over{false};
    std::vector<std::thread> producers;
    std::vector<void*> blocks(count);
    const std::size_t in_memory = resident();
    for (std::size_t round = 0; round < rounds; ++round) {
        std::atomic<bool> ready{false};
        producers.emplace_back([&] {
            for (void*& block : blocks) std::memset(block = mpmm_malloc(size), 1, size);
            ready.store(true, std::memory_order_release);
            ready.notify_one();
            over.wait(false);
        });
        ready.wait(false, std::memory_order_acquire);
        mpmm_free_batch(size, blocks.size(), blocks.data());
        mpmm_tcache_flush();
    }
    // Light traffic, as any living program has; far more rounds than the delay needs, but no longer than until the memory is back.
    const std::size_t bound = in_memory + rounds * 24 * mib / 4;
    for (int i = 0; i < 100 && resident() > bound; ++i) {
        for (int k = 0; k < 5000; ++k) mpmm_free(mpmm_malloc(100), 100);
        mpmm_purge();
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_LE(resident(), bound) << "of " << rounds * 24 << " MiB that were freed";
    over.store(true);
    over.notify_all();
    for (std::thread& producer : producers) producer.join();
    mpmm_set_option("decay_ms", "1000");
}
#endif

/// Threads whose end runs while others free their blocks, over and over: adoption and rescue.
TEST_F(Stress, OwnersDieWhileTheirBlocksAreFreed) {
    constexpr int slots = 64;
    static std::array<std::atomic<Parcel*>, slots> table;
    std::atomic<bool> over{false};
    std::atomic<int> wrong{0};
    std::thread freer([&] {
        std::mt19937_64 random(1);
        while (!over.load())
            if (Parcel* const parcel = table[random() % slots].exchange(nullptr, std::memory_order_acq_rel); parcel != nullptr) {
                wrong += !parcel->whole(parcel->size);
                mpmm_free(parcel, parcel->size);
            }
    });
    for (unsigned number = 0; number < 1500u / scale; ++number)
        std::thread([&] {
            std::mt19937_64 random(number);
            for (int i = 0; i < 300; ++i) {
                const std::size_t size = random() % (i % 50 == 0 ? 50000 : 200) + sizeof(Parcel);
                auto* const parcel = ::new (mpmm_malloc(size)) Parcel{size, random()};
                parcel->fill(sizeof(Parcel));
                if (Parcel* const old = table[random() % slots].exchange(parcel, std::memory_order_acq_rel); old != nullptr) {
                    wrong += !old->whole(old->size);
                    mpmm_free(old, old->size);
                }
            }
        }).join();
    over.store(true);
    freer.join();
    for (auto& slot : table)
        if (Parcel* const left = slot.exchange(nullptr); left != nullptr) mpmm_free(left, left->size);
    EXPECT_EQ(wrong.load(), 0);
}

/// Programs order what they hand on. Those that do not lose what they wrote, and not the heap.
TEST_F(Stress, BlocksAreHandedOverUnordered) {
    for (const std::size_t size : {std::size_t{16}, std::size_t{3000}, 700 * mib / 1024, 3 * mib}) {
        hand_over_unordered(
            static_cast<std::size_t>(size < mib / 2 ? 4000 / scale : 200 / scale), [&](std::size_t) { return mpmm_malloc(size); },
            [&](void* block) {
                EXPECT_GE(mpmm_usable_size(block), size);
                mpmm_free(block, size);
            });
        mpmm_tcache_flush();
    }
}

}  // namespace
}  // namespace mpmm::test
