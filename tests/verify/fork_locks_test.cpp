// SPDX-License-Identifier: Apache-2.0
// fork() waits for whoever changes one of verify's tables, so that the child has a whole one.
#include "mpmm/mpmm.h"
#include "support/waits.hpp"
#include "verify/guarded.hpp"
#include "verify/quarantine.hpp"
#include "verify/stack_depot.hpp"

#include <sys/wait.h>
#include <unistd.h>

namespace mpmm {
namespace {

void expect_fork_to_wait(void (*lock)(), void (*unlock)()) {
    mpmm_free(mpmm_malloc(1), 1);  // the heap has started: its handlers are registered
    pid_t child = -1;
    test::expect_to_wait(lock, unlock, [&] {
        child = ::fork();
        if (child != 0) return;
        ::alarm(20);
        lock();
        unlock();
        ::_exit(0);
    });
    int status = -1;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0) << "the child has the lock for itself";
    lock();
    unlock();
}

TEST(VerifyFork, WaitsForTheQuarantine) { expect_fork_to_wait(quarantine::lock, quarantine::unlock); }
TEST(VerifyFork, WaitsForGuardedBlocks) { expect_fork_to_wait(guarded::lock, guarded::unlock); }
TEST(VerifyFork, WaitsForStacks) { expect_fork_to_wait(stack_depot::lock, stack_depot::unlock); }

}  // namespace
}  // namespace mpmm
