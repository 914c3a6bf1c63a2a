// SPDX-License-Identifier: Apache-2.0
// That something waits for a lock.
#pragma once

#include <atomic>
#include <chrono>
#include <gtest/gtest.h>
#include <thread>

namespace mpmm::test {

/// call() in another thread does not end between lock() and unlock(), and does after them. Passes however slow the machine is; what does not
/// wait is over long before it is looked for, and fails.
template <class Lock, class Unlock, class Call>
void expect_to_wait(Lock lock, Unlock unlock, Call call) {
    std::atomic<bool> begun{false}, over{false};
    lock();
    std::thread other([&] {
        begun.store(true);
        call();
        over.store(true);
    });
    while (!begun.load()) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    EXPECT_FALSE(over.load());
    unlock();
    other.join();
}

}  // namespace mpmm::test
