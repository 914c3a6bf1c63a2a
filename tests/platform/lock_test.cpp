// SPDX-License-Identifier: Apache-2.0
#include "platform/lock.hpp"

#include <gtest/gtest.h>
#include <thread>
#include <vector>

namespace mpmm {
namespace {

TEST(Mutex, ExcludesOthers) {
    Mutex mutex;
    long plain = 0;
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
        threads.emplace_back([&] {
            for (int i = 0; i < 20000; ++i) {
                const Guard guard(mutex);
                ++plain;
            }
        });
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(plain, 80000);
}

TEST(Mutex, TryLockFailsWhileHeldAndWorksAfterReset) {
    Mutex mutex;
    ASSERT_TRUE(mutex.try_lock());
    EXPECT_FALSE(mutex.try_lock());
    mutex.reset_after_fork();
    EXPECT_TRUE(mutex.try_lock());
    mutex.unlock();
}

}  // namespace
}  // namespace mpmm
