// SPDX-License-Identifier: Apache-2.0
#include "backend/backend.hpp"
#include "backend/fixed_region.hpp"

#include <atomic>
#include <cstring>
#include <fstream>
#include <gtest/gtest.h>
#include <memory>
#include <sys/resource.h>
#include <thread>
#include <vector>

namespace mpmm {
namespace {

constexpr std::size_t page = 4096, chunk = std::size_t{1} << 21;

std::size_t mapped_pages() {
    std::size_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    return pages;
}

TEST(SystemBackend, AlignsWithoutLeavingAnythingMapped) {
    Backend backend;
    for (const std::size_t alignment : {page, chunk, 8 * chunk, 64 * chunk}) {
        const std::size_t before = mapped_pages();
        void* const memory = backend.allocate(3 * chunk, alignment);
        ASSERT_NE(memory, nullptr);
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory) % alignment, 0u);
        EXPECT_LE(mapped_pages() - before, 3 * chunk / page + 16);
        std::memset(memory, 1, 3 * chunk);
        EXPECT_TRUE(backend.purge(memory, chunk));
        EXPECT_EQ(static_cast<char*>(memory)[chunk - 1], 0) << "purged memory reads as zero";
        EXPECT_EQ(static_cast<char*>(memory)[chunk], 1);
        EXPECT_EQ(backend.mapped(), 3 * chunk);
        EXPECT_TRUE(backend.deallocate(memory, 3 * chunk));
        EXPECT_EQ(backend.mapped(), 0u);
        EXPECT_LE(mapped_pages(), before + 16);
    }
}

/// Where addresses are limited: only the first mapping takes more than it keeps, to cut an aligned one out of it.
TEST(SystemBackend, AlignsWhereThereIsNoRoomToTrim) {
    Backend backend;
    constexpr std::size_t size = 8 * chunk;
    void* const first = backend.allocate(size, size);
    ASSERT_NE(first, nullptr);
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_AS, &before), 0);
    const rlimit tight{mapped_pages() * page + size + size / 2, before.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_AS, &tight), 0);
    void* const second = backend.allocate(size, size);
    ASSERT_EQ(::setrlimit(RLIMIT_AS, &before), 0);
    EXPECT_NE(second, nullptr);
    if (second != nullptr) backend.deallocate(second, size);
    backend.deallocate(first, size);
}

TEST(SystemBackend, RefusesWhatCannotBe) {
    Backend backend;
    EXPECT_EQ(backend.allocate(align_down(SIZE_MAX, chunk), chunk), nullptr);
    EXPECT_EQ(backend.allocate(align_down(~std::size_t{0}, page), chunk), nullptr);
    EXPECT_EQ(backend.mapped(), 0u);
}

TEST(SystemBackend, MovesPagesWithTheirContent) {
    Backend backend;
    auto* const from = static_cast<char*>(backend.allocate(2 * chunk, chunk));
    std::memset(from, 7, 2 * chunk);
    auto* const to = static_cast<char*>(backend.allocate(4 * chunk, chunk));
    ASSERT_TRUE(backend.move(from, 2 * chunk, to, 4 * chunk));
    EXPECT_EQ(to[0], 7);
    EXPECT_EQ(to[2 * chunk - 1], 7);
    EXPECT_EQ(to[4 * chunk - 1], 0);
    EXPECT_EQ(backend.mapped(), 4 * chunk);
    backend.deallocate(to, 4 * chunk);
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
