// SPDX-License-Identifier: Apache-2.0
// The system's memory where mappings can be cut, limited and moved.
#include "backend/backend.hpp"

#include <cstring>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/resource.h>

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

}  // namespace
}  // namespace mpmm
