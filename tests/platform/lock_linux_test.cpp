// SPDX-License-Identifier: Apache-2.0
// What a lock asks Linux for.
#include "platform/lock.hpp"

#include <cstddef>
#include <gtest/gtest.h>
#include <iterator>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace mpmm {
namespace {

/// In a process that must not call the kernel for it.
TEST(Mutex, AsksTheKernelForNothingWhenNobodyWaits) {
    Mutex mutex;
    const pid_t child = ::fork();
    if (child == 0) {
        sock_filter filter[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_futex, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL),
                                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
        const sock_fprog program{std::size(filter), filter};
        if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) ::_exit(77);
        mutex.lock();
        mutex.unlock();
        mutex.lock();
        mutex.unlock();
        ::_exit(0);
    }
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) GTEST_SKIP() << "no seccomp here";
    EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace mpmm
