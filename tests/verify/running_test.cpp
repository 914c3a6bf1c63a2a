// SPDX-License-Identifier: Apache-2.0
// The check of the whole heap beside threads that allocate, free, free each other's blocks, end and begin: it never reports what is not
// broken.
#include "broken_heap.hpp"

#include <array>
#include <cstring>
#include <random>

namespace mpmm::test {
namespace {

template <class C>
class VerifyRunning : public ::testing::Test {};
using RunningConfigs = ::testing::Types<Config<Geometry<4096, 64>, BuildVerify, 8>, Config<Geometry<16384, 32>, BuildVerify, 128>>;
TYPED_TEST_SUITE(VerifyRunning, RunningConfigs);

/// Slots that all threads take blocks out of and put blocks into.
template <class H>
struct Exchange {
    std::array<Atomic<void*>, 512> slots{};

    static std::size_t random_size(std::mt19937& random) {
        switch (random() % 64) {
            case 0: return H::Classes::max_size / (1 + random() % 8);
            case 1: return random() % (4 * H::G::chunk);
            case 2:
            case 3: return random() % 8192;
            default: return random() % 256;
        }
    }
    void work(unsigned seed, std::size_t operations) {
        std::mt19937 random(seed);
        std::array<void*, 64> own{};
        for (std::size_t i = 0; i < operations; ++i) {
            void*& mine = own[random() % own.size()];
            H::free(mine);
            mine = H::malloc(random_size(random));
            if (mine != nullptr) *static_cast<char*>(mine) = 1;
            // Half of what is handed over is freed elsewhere.
            if (random() % 2 == 0) mine = slots[random() % slots.size()].exchange(mine);
            if (random() % 4096 == 0) H::purge();
        }
        for (void* address : own) H::free(address);
    }
    void empty() {
        for (auto& slot : slots) H::free(slot.exchange(nullptr));
    }
};

TYPED_TEST(VerifyRunning, NothingIsReported) {
    using H = Heap<TypeParam>;
    static Exchange<H> exchange;
    static Atomic<bool> stop{false};
    stop = false;
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 3; ++t)
        threads.emplace_back([t] {
            for (unsigned round = 0; !stop.load(); ++round) exchange.work(t * 1000 + round, 20'000);
        });
    // One that begins and ends all the time, and one that only frees.
    threads.emplace_back([] {
        for (unsigned round = 0; !stop.load(); ++round) std::thread([round] { exchange.work(77'000 + round, 500); }).join();
    });
    threads.emplace_back([] {
        std::mt19937 random(5);
        while (!stop.load()) H::free(exchange.slots[random() % exchange.slots.size()].exchange(nullptr));
    });
    std::size_t broken = 0;
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(2);
    unsigned checks = 0;
    for (; std::chrono::steady_clock::now() < until; ++checks) broken += H::verify();
    stop = true;
    for (auto& thread : threads) thread.join();
    exchange.empty();
    EXPECT_EQ(broken, 0u);
    EXPECT_EQ(H::verify(), 0u);
    EXPECT_GT(checks, 10u);
}

TYPED_TEST(VerifyRunning, SeveralCheckAtOnce) {
    using H = Heap<TypeParam>;
    static Exchange<H> exchange;
    std::vector<std::thread> threads;
    static Atomic<std::size_t> broken{0};
    for (unsigned t = 0; t < 4; ++t)
        threads.emplace_back([t] {
            for (unsigned round = 0; round < 20; ++round) {
                exchange.work(t * 500 + round, 500);
                broken += H::verify();
            }
        });
    for (auto& thread : threads) thread.join();
    exchange.empty();
    EXPECT_EQ(broken.load(), 0u);
    EXPECT_EQ(H::verify(), 0u);
}

}  // namespace
}  // namespace mpmm::test
