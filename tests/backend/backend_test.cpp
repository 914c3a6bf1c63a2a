// SPDX-License-Identifier: Apache-2.0
#include "backend/backend.hpp"
#include "backend/fixed_region.hpp"

#include <atomic>
#include <cstring>
#include <gtest/gtest.h>
#include <memory>
#include <thread>
#include <vector>

namespace mpmm {
namespace {

constexpr std::size_t page = 4096, chunk = std::size_t{1} << 21;

TEST(SystemBackend, RefusesWhatCannotBe) {
    Backend backend;
    EXPECT_EQ(backend.allocate(align_down(SIZE_MAX, chunk), chunk), nullptr);
    EXPECT_EQ(backend.allocate(align_down(~std::size_t{0}, page), chunk), nullptr);
    EXPECT_EQ(backend.mapped(), 0u);
}

TEST(FixedRegion, StaysInsideAndGivesEverythingBack) {
    constexpr std::size_t size = 16 * chunk;
    const auto region = std::make_unique<std::byte[]>(size);
    mpmm_backend callbacks;
    ASSERT_TRUE(make_fixed_region(callbacks, region.get(), size, page, chunk));
    std::vector<std::byte*> taken;
    while (void* const memory = callbacks.allocate(callbacks.context, chunk, chunk)) taken.push_back(static_cast<std::byte*>(memory));
    EXPECT_GE(taken.size(), 14u);
    for (std::byte* const memory : taken) {
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory) % chunk, 0u);
        EXPECT_GE(memory, region.get());
        EXPECT_LE(memory + chunk, region.get() + size);
        std::memset(memory, 0xff, chunk);
    }
    EXPECT_NE(callbacks.allocate(callbacks.context, page, page), nullptr) << "the ends still hold pages";
    EXPECT_EQ(callbacks.deallocate(callbacks.context, taken[0], chunk), 0);
    EXPECT_NE(callbacks.deallocate(callbacks.context, taken[0], chunk), 0) << "a second release is refused";
    EXPECT_NE(callbacks.deallocate(callbacks.context, region.get() + size, page), 0);
    EXPECT_EQ(callbacks.allocate(callbacks.context, chunk, chunk), taken[0]);
    EXPECT_EQ(callbacks.allocate(callbacks.context, ~std::size_t{0} & ~(page - 1), page), nullptr);
}

TEST(FixedRegion, RefusesWhatIsTooSmall) {
    mpmm_backend callbacks;
    std::vector<std::byte> small(chunk);
    EXPECT_FALSE(make_fixed_region(callbacks, small.data(), small.size(), page, chunk));
    EXPECT_FALSE(make_fixed_region(callbacks, nullptr, chunk, page, chunk));
    EXPECT_FALSE(make_fixed_region(callbacks, small.data(), ~std::size_t{0}, page, chunk));
    EXPECT_FALSE(make_fixed_region(callbacks, small.data(), 0, page, chunk));
    // At the end of all addresses, where rounding up begins anew.
    for (const std::uintptr_t before_end : {2, 100})
        EXPECT_FALSE(make_fixed_region(callbacks, reinterpret_cast<void*>(~std::uintptr_t{0} - before_end), before_end / 2, page, chunk));
}

TEST(FixedRegion, ThreadsNeverGetTheSamePages) {
    constexpr std::size_t size = 2 * chunk;
    const auto region = std::make_unique<std::byte[]>(size);
    mpmm_backend callbacks;
    ASSERT_TRUE(make_fixed_region(callbacks, region.get(), size, page, chunk));
    // The search for free pages takes its time.
    ASSERT_NE(callbacks.allocate(callbacks.context, size / 2, page), nullptr);
    std::atomic<int> begun{0};
    const auto work = [&](std::uint64_t number) {
        ++begun;
        while (begun != 2) std::this_thread::yield();
        for (std::uint64_t i = 0; i < 100000; ++i) {
            const std::size_t length = page * (1 + i % 5);
            auto* const memory = static_cast<std::uint64_t*>(callbacks.allocate(callbacks.context, length, page));
            ASSERT_NE(memory, nullptr);
            std::uint64_t* const last = memory + length / sizeof *memory - 1;
            *memory = *last = number << 32 | i;
            if (i % 16 == 0) std::this_thread::yield();
            ASSERT_TRUE(*memory == (number << 32 | i) && *last == *memory);
            ASSERT_EQ(callbacks.deallocate(callbacks.context, memory, length), 0);
        }
    };
    std::thread one(work, 1), other(work, 2);
    one.join();
    other.join();
}

}  // namespace
}  // namespace mpmm
