// SPDX-License-Identifier: Apache-2.0
// The C++ API: containers, memory resources and owners over the heap, with nothing left behind.
#include "mpmm/mpmm.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <list>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

std::size_t used_blocks() {
    mpmm_stats stats{};
    stats.struct_size = sizeof stats;
    EXPECT_EQ(mpmm_get_stats(&stats), 0);
    return stats.used_blocks;
}

class CxxApi : public ::testing::Test {
  protected:
    void TearDown() override {
        EXPECT_EQ(used_blocks(), before_);
        EXPECT_EQ(mpmm_verify_heap(), 0u);
    }

  private:
    std::size_t before_ = used_blocks();
};

TEST_F(CxxApi, ContainersLiveInTheHeap) {
    const std::size_t before = used_blocks();
    std::vector<int, mpmm::allocator<int>> numbers;
    for (int i = 0; i < 1000; ++i) numbers.push_back(i);
    EXPECT_EQ(mpmm_debugger_find(numbers.data()).kind, MPMM_ADDRESS_LIVE);
    std::list<std::string, mpmm::allocator<std::string>> words(10, "word");
    EXPECT_EQ(used_blocks(), before + 11);
    EXPECT_EQ(numbers[999], 999);
    EXPECT_TRUE(mpmm::allocator<int>() == mpmm::allocator<int>(mpmm::allocator<char>()));
}

TEST_F(CxxApi, AllocatorsRefuseWhatCannotBe) {
    mpmm::allocator<std::uint64_t> memory;
    EXPECT_THROW((void)memory.allocate(SIZE_MAX / 4), std::bad_array_new_length);
    EXPECT_THROW((void)memory.allocate(SIZE_MAX / 8), std::bad_alloc);
}

TEST_F(CxxApi, ResourcesKeepAlignment) {
    mpmm::memory_resource resource, other;
    EXPECT_TRUE(resource.is_equal(other));
    EXPECT_FALSE(resource.is_equal(*std::pmr::new_delete_resource()));
    for (std::size_t alignment = 1; alignment <= 65536; alignment *= 2)
        for (const std::size_t size : {std::size_t{1}, std::size_t{24}, std::size_t{1000}, std::size_t{100000}}) {
            void* const block = resource.allocate(size, alignment);
            EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block) % alignment, 0u) << size;
            other.deallocate(block, size, alignment);
        }
    std::pmr::map<int, std::pmr::string> map(&resource);
    for (int i = 0; i < 100; ++i) map[i] = std::string(static_cast<std::size_t>(i), 'x');
    EXPECT_EQ(map[99].size(), 99u);
}

struct alignas(256) Wide {
    explicit Wide(bool fails) {
        if (fails) throw std::runtime_error("as told");
    }
    char bytes[300];
};

TEST_F(CxxApi, OwnersFree) {
    const auto wide = mpmm::make_unique<Wide>(false);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(wide.get()) % 256, 0u);
    EXPECT_THROW((void)mpmm::make_unique<Wide>(true), std::runtime_error);

    mpmm::block block(100);
    std::memset(block.data(), 7, 100);
    block.resize(100000);
    EXPECT_EQ(static_cast<const char*>(block.data())[99], 7);
    EXPECT_THROW(block.resize(SIZE_MAX), std::bad_alloc);
    EXPECT_EQ(block.size(), 100000u);
    mpmm::block moved(std::move(block));
    EXPECT_EQ(block.data(), nullptr);
    block = std::move(moved);
    EXPECT_EQ(block.size(), 100000u);
    mpmm_free(block.release(), 100000);
    EXPECT_EQ(block.size(), 0u);
}

TEST_F(CxxApi, ThreadCacheScopeReleases) {
    void* const kept = mpmm_malloc(50);
    {
        const mpmm::thread_cache_scope scope;
        mpmm_free(mpmm_malloc(50), 50);
    }
    mpmm_stats stats{};
    stats.struct_size = sizeof stats;
    mpmm_get_stats(&stats);
    EXPECT_EQ(stats.thread_caches, 0u);
    mpmm_free(kept, 50);
}

}  // namespace
