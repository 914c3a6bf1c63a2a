// SPDX-License-Identifier: Apache-2.0
// Windows' memory behind the backend, with the functions of newer systems and without.
#include "backend/backend.hpp"
#include "support/without_windows.hpp"

#include <cstring>
#include <gtest/gtest.h>
#include <memory>
#include <thread>
#include <vector>

namespace mpmm::test {
namespace {

constexpr std::size_t page = 4096, chunk = std::size_t{1} << 21;

/// Bytes of addresses that are not free.
std::size_t taken_addresses() {
    std::size_t bytes = 0;
    MEMORY_BASIC_INFORMATION info;
    for (char* at = nullptr; ::VirtualQuery(at, &info, sizeof info) != 0; at = static_cast<char*>(info.BaseAddress) + info.RegionSize)
        if (info.State != MEM_FREE) bytes += info.RegionSize;
    return bytes;
}

class WindowsBackend : public ::testing::TestWithParam<bool> {
  protected:
    void SetUp() override {
        if (!GetParam()) old_ = std::make_unique<OldWindows>();
        else if (os::windows::functions.allocate.load() == nullptr) GTEST_SKIP() << "no VirtualAlloc2 here";
    }

  private:
    std::unique_ptr<OldWindows> old_;
};

TEST_P(WindowsBackend, AlignsWithoutLeavingAnythingMapped) {
    Backend backend;
    for (const std::size_t alignment : {page, chunk, 8 * chunk, 64 * chunk}) {
        const std::size_t before = taken_addresses();
        auto* const memory = static_cast<char*>(backend.allocate(3 * chunk, alignment));
        ASSERT_NE(memory, nullptr);
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory) % alignment, 0u);
        EXPECT_LE(taken_addresses() - before, 3 * chunk + 16 * page);
        EXPECT_EQ(memory[3 * chunk - 1], 0);
        std::memset(memory, 1, 3 * chunk);
        EXPECT_TRUE(backend.purge(memory, chunk));
        EXPECT_EQ(memory[0], 0) << "purged memory reads as zero";
        EXPECT_EQ(memory[chunk - 1], 0) << "purged memory reads as zero";
        EXPECT_EQ(memory[chunk], 1);
        EXPECT_EQ(backend.mapped(), 3 * chunk);
        EXPECT_TRUE(backend.deallocate(memory, 3 * chunk));
        EXPECT_EQ(backend.mapped(), 0u);
        EXPECT_LE(taken_addresses(), before + 16 * page);
    }
}

TEST_P(WindowsBackend, GivesBackInPartsAndAcrossReservations) {
    Backend backend;
    const std::size_t before = taken_addresses();
    void* const room = os::map_aligned(6 * chunk, chunk, false);
    EXPECT_TRUE(os::unmap(room, 6 * chunk));
    auto* const one = static_cast<char*>(os::map(4 * chunk, room));
    ASSERT_EQ(one, room);
    auto* const other = static_cast<char*>(::VirtualAlloc(one + 4 * chunk, 2 * chunk, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE));
    ASSERT_EQ(other, one + 4 * chunk);
    std::memset(one, 1, 6 * chunk);
    EXPECT_TRUE(backend.deallocate(one + chunk, chunk));
    EXPECT_FALSE(os::is_readable(one + chunk, page));
    EXPECT_EQ(one[chunk - 1], 1);
    EXPECT_EQ(one[2 * chunk], 1);
    // The end of the first, and the beginning of the second.
    EXPECT_TRUE(backend.deallocate(one + 3 * chunk, 2 * chunk));
    EXPECT_EQ(one[3 * chunk - 1], 1);
    EXPECT_EQ(one[5 * chunk], 1);
    EXPECT_TRUE(backend.deallocate(one, chunk));
    EXPECT_TRUE(backend.deallocate(one + 2 * chunk, chunk));
    EXPECT_TRUE(backend.deallocate(one + 5 * chunk, chunk));
    EXPECT_LE(taken_addresses(), before + 16 * page);
}

TEST_P(WindowsBackend, ShrinksAndGrowsInPlace) {
    Backend backend;
    // Where nobody has the addresses behind it.
    void* const room = os::map_aligned(6 * chunk, chunk, false);
    EXPECT_TRUE(os::unmap(room, 6 * chunk));
    auto* const memory = static_cast<char*>(os::map(4 * chunk, room));
    ASSERT_EQ(memory, room);
    std::memset(memory, 1, 4 * chunk);
    EXPECT_TRUE(backend.resize(memory, 4 * chunk, chunk));
    EXPECT_FALSE(os::is_readable(memory + chunk, page));
    EXPECT_TRUE(backend.resize(memory, chunk, 3 * chunk)) << "these addresses are still its own";
    EXPECT_EQ(memory[chunk - 1], 1);
    EXPECT_EQ(memory[3 * chunk - 1], 0);
    EXPECT_TRUE(backend.resize(memory, 3 * chunk, 4 * chunk));
    EXPECT_TRUE(backend.resize(memory, 4 * chunk, 6 * chunk)) << "nobody has the addresses behind it";
    memory[6 * chunk - 1] = 1;
    EXPECT_FALSE(backend.move(memory, 6 * chunk, memory, 6 * chunk));
    EXPECT_TRUE(backend.deallocate(memory, 6 * chunk));
    EXPECT_FALSE(os::is_readable(memory, page));
    EXPECT_FALSE(os::is_readable(memory + 5 * chunk, page));
}

TEST_P(WindowsBackend, GrowsNotOverOthers) {
    Backend backend;
    void* const room = os::map_aligned(4 * chunk, chunk, false);
    EXPECT_TRUE(os::unmap(room, 4 * chunk));
    auto* const memory = static_cast<char*>(os::map(2 * chunk, room));
    ASSERT_EQ(memory, room);
    void* const other = ::VirtualAlloc(memory + 3 * chunk, chunk, MEM_RESERVE, PAGE_NOACCESS);
    ASSERT_NE(other, nullptr);
    EXPECT_FALSE(backend.resize(memory, 2 * chunk, 4 * chunk));
    EXPECT_TRUE(backend.resize(memory, 2 * chunk, 3 * chunk));
    ::VirtualFree(other, 0, MEM_RELEASE);
    EXPECT_TRUE(backend.deallocate(memory, 3 * chunk));
}

TEST_P(WindowsBackend, ManyThreadsAlignAndGiveBackAtOnce) {
    Backend backend;
    const std::size_t before = taken_addresses();
    const auto work = [&](char number) {
        for (int i = 0; i < 300; ++i) {
            auto* const memory = static_cast<char*>(backend.allocate(2 * chunk, chunk));
            ASSERT_NE(memory, nullptr);
            for (const std::size_t at : {std::size_t{0}, chunk - 1, chunk, 2 * chunk - 1}) {
                ASSERT_EQ(memory[at], 0);
                memory[at] = number;
            }
            std::this_thread::yield();
            ASSERT_TRUE(memory[0] == number && memory[2 * chunk - 1] == number);
            ASSERT_TRUE(backend.deallocate(memory + chunk, chunk));
            ASSERT_EQ(memory[chunk - 1], number);
            ASSERT_TRUE(backend.deallocate(memory, chunk));
        }
    };
    std::vector<std::thread> threads;
    for (char number = 1; number <= 4; ++number) threads.emplace_back(work, number);
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(backend.mapped(), 0u);
    EXPECT_LE(taken_addresses(), before + 4 * chunk) << "but for what the C library keeps for threads";
}

/// Two threads give the two halves of a reservation back at the same moment.
TEST_P(WindowsBackend, HalvesGoBackAtOnce) {
    constexpr std::size_t count = 200;
    const std::size_t before = taken_addresses();
    std::vector<char*> memory(count);
    for (char*& one : memory) ASSERT_NE(one = static_cast<char*>(os::map_aligned(2 * chunk, chunk, false)), nullptr);
    const auto half = [&](std::size_t offset) {
        for (char* const one : memory) ASSERT_TRUE(os::unmap(one + offset, chunk));
    };
    std::thread other(half, 0);
    half(chunk);
    other.join();
    EXPECT_LE(taken_addresses(), before + 4 * chunk);
}

TEST_P(WindowsBackend, LargePagesAreARequestOnly) {
    void* const memory = os::map_aligned(2 * chunk, chunk, true);
    ASSERT_NE(memory, nullptr) << "without the privilege there are small ones";
    std::memset(memory, 1, 2 * chunk);
    EXPECT_TRUE(os::unmap(memory, 2 * chunk));
    EXPECT_FALSE(os::is_readable(memory, page));
}

TEST_P(WindowsBackend, RefusesWhatCannotBe) {
    EXPECT_EQ(os::map_aligned(std::size_t{1} << 60, chunk, false), nullptr);
    EXPECT_EQ(os::map_aligned(std::size_t{1} << 48, chunk, false), nullptr);
    EXPECT_EQ(os::map_aligned(~std::size_t{0} - page + 1, chunk, false), nullptr);
}

INSTANTIATE_TEST_SUITE_P(OldAndNew, WindowsBackend, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "VirtualAlloc2" : "Old"; });

}  // namespace
}  // namespace mpmm::test
