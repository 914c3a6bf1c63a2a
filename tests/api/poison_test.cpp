// SPDX-License-Identifier: Apache-2.0
// With AddressSanitizer, in verify mode, a stray touch of a block dies at the instruction. Each touch is a child of its own.
#include "api/api_support.hpp"
#include "api/child.hpp"

#include <cstring>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) && defined(MPMM_TEST_VERIFY)

#include <sanitizer/asan_interface.h>

namespace mpmm::test {
namespace {

constexpr const char* poisoned = "AddressSanitizer: use-after-poison";

void touch(char* address) { *static_cast<volatile char*>(address) = 1; }

class Poison : public ::testing::TestWithParam<std::size_t> {
  protected:
    Poison() { EXPECT_EQ(mpmm_set_option("quarantine_bytes", "64m"), 0); }
    std::size_t size() const { return GetParam(); }
    char* block() const { return static_cast<char*>(mpmm_malloc(size())); }
};

TEST_P(Poison, LiveBlockEndsWhereItWasAskedTo) {
    char* const live = block();
    std::memset(live, 1, size());
    EXPECT_DEATH(touch(live + size()), poisoned);
    EXPECT_DEATH(touch(live - 1), poisoned);
    mpmm_free(live, size());
}

TEST_P(Poison, NothingOfFreedBlockCanBeTouched) {
    char* const freed = block();
    mpmm_free(freed, size());
    // The pages of a long one are inaccessible.
    EXPECT_DEATH(touch(freed), "");
    EXPECT_DEATH(touch(freed + size() - 1), "");
}

TEST_P(Poison, FollowsTheSize) {
    char* moved = static_cast<char*>(mpmm_realloc(block(), size(), size() + 3));
    std::memset(moved, 1, size() + 3);
    EXPECT_DEATH(touch(moved + size() + 3), poisoned);
    if (mpmm_resize(moved, size() + 3, size() - 1) != 0) {
        EXPECT_DEATH(touch(moved + size() - 1), poisoned);
        mpmm_free(moved, size() - 1);
    } else {
        mpmm_free(moved, size() + 3);
    }
}

/// As containers do with what they have reserved and not used.
TEST_P(Poison, WhatTheProgramPoisonedStaysSoUntilItIsFreed) {
    EXPECT_EQ(mpmm_set_option("quarantine_bytes", "0"), 0);
    char *const live = block(), *const middle = live + size() / 16 * 8;
    __asan_poison_memory_region(middle, size() / 16 * 8);
    EXPECT_EQ(mpmm_verify_heap(), 0u);
    EXPECT_EQ(__asan_address_is_poisoned(middle), size() < 16 ? 0 : 1);
    mpmm_free(live, size());
    auto* const again = static_cast<char*>(mpmm_zalloc(size()));
    std::memset(again, 1, size());
    mpmm_free(again, size());
}

TEST_P(Poison, ComesBackToUse) {
    EXPECT_EQ(mpmm_set_option("quarantine_bytes", "0"), 0);
    for (int i = 0; i < 100; ++i) {
        auto* const zeroed = static_cast<char*>(mpmm_zalloc(size()));
        std::memset(zeroed, 1, size());
        mpmm_free(zeroed, size());
    }
    EXPECT_EQ(mpmm_verify_heap(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Sizes, Poison, ::testing::Values(1, 24, 100, 4097, 70'000, 3'000'000));

}  // namespace
}  // namespace mpmm::test

#endif
#endif
