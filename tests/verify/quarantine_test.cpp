// SPDX-License-Identifier: Apache-2.0
// The quarantine as a list: what waits, and when it leaves.
#include "verify/quarantine.hpp"

#include <gtest/gtest.h>

namespace mpmm {
namespace {

TEST(Quarantine, HoldsWhatItMayAndNotAByteMore) {
    while (quarantine::Batch* const batch = quarantine::overdue(0)) quarantine::recycle(batch);
    constexpr std::size_t bytes = 100, count = 10, all = sizeof(quarantine::Batch) + bytes * count;
    for (std::size_t i = 0; i < count; ++i) ASSERT_TRUE(quarantine::add(Place{}, bytes, 1 << 20));
    quarantine::publish();
    EXPECT_EQ(quarantine::overdue(all), nullptr);
    quarantine::Batch* const batch = quarantine::overdue(all - 1);
    ASSERT_NE(batch, nullptr);
    EXPECT_EQ(batch->count, count);
    EXPECT_EQ(batch->bytes, all);
    quarantine::recycle(batch);
    EXPECT_EQ(quarantine::overdue(0), nullptr);
}

}  // namespace
}  // namespace mpmm
