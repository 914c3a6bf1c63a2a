// SPDX-License-Identifier: Apache-2.0
// What the tests of the C API share.
#pragma once

#include "mpmm/mpmm.h"

#include <cstddef>
#include <cstdint>
#include <gtest/gtest.h>
#include <initializer_list>
#include <vector>

namespace mpmm::test {

#ifdef MPMM_TEST_VERIFY
inline constexpr bool verify_build = true;
#else
inline constexpr bool verify_build = false;
#endif

/// Lists of sizes, which are of different types on different systems when they are written as numbers.
using Sizes = std::initializer_list<std::size_t>;

inline mpmm_stats stats() {
    mpmm_stats result{};
    result.struct_size = sizeof result;
    EXPECT_EQ(mpmm_get_stats(&result), 0);
    return result;
}

inline std::size_t chunk() { return mpmm_backend_chunk_size(); }
inline bool is_aligned(const void* address, std::size_t alignment) { return reinterpret_cast<std::uintptr_t>(address) % alignment == 0; }

/// Small, medium, large and huge, and what lies right beside the borders of the classes.
inline std::vector<std::size_t> many_sizes() {
    std::vector<std::size_t> sizes;
    for (std::size_t size = 0; size <= 1100; ++size) sizes.push_back(size);
    for (std::size_t power = 2048; power <= 4 * chunk(); power *= 2)
        for (const std::size_t size : {power - 1, power, power + 1, power + power / 8, power + power / 3, power + power / 2 + 1})
            sizes.push_back(size);
    sizes.push_back(40 * chunk() + 17);
    return sizes;
}

/// Sizes that no allocator can serve.
inline constexpr std::size_t impossible_sizes[] = {SIZE_MAX,         SIZE_MAX - 15, SIZE_MAX - 4095,
                                                   SIZE_MAX / 2 + 1, PTRDIFF_MAX,   PTRDIFF_MAX - 4096};

/// Every test starts with an empty heap, also when the binary runs them all in one process; it ends with a whole one, and nothing lost.
class ApiTest : public ::testing::Test {
  protected:
    void SetUp() override {
        mpmm_tcache_release();
        mpmm_trim(0);
    }
    void TearDown() override {
        EXPECT_EQ(mpmm_verify_heap(), 0u);
        EXPECT_EQ(stats().used_blocks, 0u) << "blocks are lost";
    }
};

}  // namespace mpmm::test
