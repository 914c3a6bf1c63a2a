// SPDX-License-Identifier: Apache-2.0
// fork() waits for whoever changes one of verify's tables, so that the child has a whole one.
#include "mpmm/mpmm.h"
#include "verify/guarded.hpp"
#include "verify/quarantine.hpp"
#include "verify/stack_depot.hpp"

#include <atomic>
#include <chrono>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace mpmm {
namespace {

void expect_fork_to_wait(void (*lock)(), void (*unlock)()) {
    mpmm_free(mpmm_malloc(1), 1);  // the heap has started: its handlers are registered
    std::atomic<bool> forks{false}, over{false};
    lock();
    std::thread forker([&] {
        forks.store(true);
        const pid_t child = ::fork();
        if (child == 0) {
            ::alarm(20);
            lock();
            unlock();
            ::_exit(0);
        }
        over.store(true);
        int status = -1;
        EXPECT_EQ(::waitpid(child, &status, 0), child);
        EXPECT_EQ(status, 0) << "the child has the lock for itself";
    });
    while (!forks.load()) std::this_thread::yield();
    // A fork that does not wait is over by then; one that does is not, however long this takes.
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    EXPECT_FALSE(over.load());
    unlock();
    forker.join();
    EXPECT_TRUE(over.load());
    lock();
    unlock();
}

TEST(VerifyFork, WaitsForTheQuarantine) { expect_fork_to_wait(quarantine::lock, quarantine::unlock); }
TEST(VerifyFork, WaitsForGuardedBlocks) { expect_fork_to_wait(guarded::lock, guarded::unlock); }
TEST(VerifyFork, WaitsForStacks) { expect_fork_to_wait(stack_depot::lock, stack_depot::unlock); }

}  // namespace
}  // namespace mpmm
