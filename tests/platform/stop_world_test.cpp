// SPDX-License-Identifier: Apache-2.0
// Stopping all threads, and finding the roots of what they use. The blocks lie in an arena that plays the allocator's memory.
#include "platform/stop_world.hpp"

#include "support/arena_finder.hpp"
#include "support/emulator.hpp"

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <string>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace mpmm {
namespace {

using stop_world::Result;
using test::ArenaCheck;
using test::ArenaFinder;

bool sandboxed() {
    // Under a debugger or a sandbox the tests of stopping mean nothing.
    std::atomic<bool> end{false};
    std::thread other([&] {
        while (!end) usleep(1000);
    });
    const Result result = stop_world::run([](void*, const stop_world::World&) {}, nullptr);
    end = true;
    other.join();
    return result != Result::stopped;
}

class StopWorld : public testing::Test {
  protected:
    void SetUp() override {
        if (sandboxed()) GTEST_SKIP() << "threads cannot be traced here";
    }
};

TEST_F(StopWorld, EveryThreadStandsStill) {
    constexpr int count = 200;
    static std::atomic<bool> end;
    static std::atomic<int> ready;
    static std::atomic<long> spun[count];
    end = false, ready = 0;
    int pipes[2];
    ASSERT_EQ(pipe(pipes), 0);
    std::vector<std::thread> threads;
    for (int t = 0; t < count; ++t)
        threads.emplace_back([t, &pipes] {
            if (t % 3 == 0) {
                sigset_t all;
                sigfillset(&all);
                pthread_sigmask(SIG_SETMASK, &all, nullptr);
            }
            ++ready;
            char byte;
            if (t % 4 == 0) EXPECT_EQ(read(pipes[0], &byte, 1), 1);
            else if (t % 4 == 1) end.wait(false);
            else if (t % 40 == 2)
                while (!end) ++spun[t];
            else
                while (!end) ++spun[t], usleep(100);
        });
    while (ready != count) usleep(100);
    struct Seen {
        std::size_t threads;
        bool moved;
        int self;
    };
    for (int round = 0; round < 20; ++round) {
        Seen seen{0, false, 0};
        errno = 77;
        const Result result = stop_world::run(
            [](void* context, const stop_world::World& world) {
                auto& out = *static_cast<Seen*>(context);
                out.threads = world.count;
                long before[count];
                for (int t = 0; t < count; ++t) before[t] = spun[t];
                usleep(2000);
                for (int t = 0; t < count; ++t) out.moved |= before[t] != spun[t];
                for (std::size_t i = 0; i < world.count; ++i)
                    if (world.threads[i].thread_pointer == reinterpret_cast<std::uintptr_t>(__builtin_thread_pointer())) ++out.self;
                errno = 5;
            },
            &seen);
        EXPECT_EQ(errno, 77);
        EXPECT_EQ(result, Result::stopped);
        EXPECT_EQ(seen.threads, count + 1u);
        EXPECT_FALSE(seen.moved);
        EXPECT_EQ(seen.self, 1);
    }
    end = true;
    end.notify_all();
    for (int t = 0; t < count / 4; ++t) EXPECT_EQ(write(pipes[1], "x", 1), 1);
    for (auto& thread : threads) thread.join();
    close(pipes[0]), close(pipes[1]);
}

TEST_F(StopWorld, WhileThreadsBeginAndEnd) {
    std::atomic<bool> end{false};
    std::vector<std::thread> makers;
    for (int m = 0; m < 4; ++m)
        makers.emplace_back([&] {
            while (!end) {
                std::vector<std::thread> children;
                for (int c = 0; c < 8; ++c) children.emplace_back([] {});
                for (auto& child : children) child.join();
            }
        });
    ArenaFinder arena(4);
    for (int round = 0; round < 100; ++round) {
        ArenaCheck check(arena);
        check.run();
        ASSERT_EQ(check.result, Result::stopped);
        ASSERT_TRUE(check.visited);
        ASSERT_GE(check.known, 5u);
    }
    end = true;
    for (auto& maker : makers) maker.join();
}

TEST_F(StopWorld, SignalsOfOthersAreNotLost) {
    static std::atomic<long> handled;
    handled = 0;
    struct sigaction action{}, before{};
    action.sa_handler = [](int) { ++handled; };
    action.sa_flags = SA_RESTART;
    sigaction(SIGRTMIN + 3, &action, &before);
    std::atomic<bool> sent_all{false}, end{false};
    std::atomic<long> sent{0};
    std::thread spinner([&] {
        while (!end) {
        }
    });
    std::thread sender([&] {
        while (!sent_all) {
            // Of a real-time signal each one counts.
            if (pthread_kill(spinner.native_handle(), SIGRTMIN + 3) == 0) ++sent;
            usleep(50);
        }
    });
    for (int round = 0; round < 200 || sent < 500; ++round)
        ASSERT_EQ(stop_world::run([](void*, const stop_world::World&) {}, nullptr), Result::stopped);
    sent_all = true;
    sender.join();
    for (int wait = 0; wait < 2000 && handled != sent; ++wait) usleep(1000);
    end = true;
    spinner.join();
    EXPECT_EQ(handled, sent);
    sigaction(SIGRTMIN + 3, &before, nullptr);
}

TEST_F(StopWorld, VforkParentDoesNotHoldItUp) {
    std::atomic<bool> begun{false};
    std::thread parent([&] {
        begun = true;
        const pid_t child = vfork();
        if (child == 0) {
            timespec time{3, 0};
            syscall(SYS_nanosleep, &time, nullptr);
            _exit(0);
        }
        waitpid(child, nullptr, 0);
    });
    while (!begun) usleep(100);
    usleep(50000);
    const auto from = std::chrono::steady_clock::now();
    ArenaFinder arena(4);
    ArenaCheck check(arena);
    check.run();
    EXPECT_EQ(check.result, Result::stopped);
    EXPECT_EQ(check.threads, 2u);
    EXPECT_LT(std::chrono::steady_clock::now() - from, std::chrono::seconds(2));
    parent.join();
}

TEST_F(StopWorld, TwoAtOnceAndFromAThread) {
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
        threads.emplace_back([] {
            for (int round = 0; round < 20; ++round)
                EXPECT_EQ(stop_world::run([](void*, const stop_world::World& world) { EXPECT_GE(world.count, 2u); }, nullptr),
                          Result::stopped);
        });
    for (auto& thread : threads) thread.join();
}

TEST_F(StopWorld, InTheChildOfFork) {
    std::atomic<bool> end{false};
    std::thread other([&] {
        while (!end) stop_world::run([](void*, const stop_world::World&) { usleep(500); }, nullptr);
    });
    for (int round = 0; round < 50; ++round) {
        usleep(200);
        const pid_t child = fork();
        if (child == 0) {
            alarm(20);
            stop_world::reset_after_fork();
            _exit(stop_world::run([](void*, const stop_world::World& world) { ASSERT_EQ(world.count, 1u); }, nullptr) == Result::stopped
                      ? 0
                      : 1);
        }
        int status = -1;
        EXPECT_EQ(waitpid(child, &status, 0), child);
        EXPECT_EQ(status, 0);
    }
    end = true;
    other.join();
}

TEST_F(StopWorld, NotDumpable) {
    ASSERT_EQ(prctl(PR_SET_DUMPABLE, 0), 0);
    EXPECT_EQ(stop_world::run([](void*, const stop_world::World&) {}, nullptr), Result::stopped);
    EXPECT_EQ(prctl(PR_GET_DUMPABLE), 0);
    prctl(PR_SET_DUMPABLE, 1);
}

TEST_F(StopWorld, CrashInTheCallbackIsTold) {
    static volatile std::uintptr_t nowhere = 8;
    EXPECT_EQ(stop_world::run([](void*, const stop_world::World&) { *reinterpret_cast<volatile int*>(nowhere) = 1; }, nullptr),
              Result::failed);
    EXPECT_EQ(stop_world::run([](void*, const stop_world::World&) {}, nullptr), Result::stopped);
}

TEST_F(StopWorld, LeavesNoDescriptorsNorChildren) {
    const int before = dup(0);
    for (int round = 0; round < 50; ++round) {
        ArenaFinder arena(4);
        ArenaCheck(arena).run();
    }
    const int after = dup(0);
    EXPECT_EQ(close(before), 0);
    EXPECT_EQ(close(after), 0);
    EXPECT_EQ(after, before + 1);
    EXPECT_EQ(waitpid(-1, nullptr, __WALL | WNOHANG), -1);
    EXPECT_EQ(errno, ECHILD);
}

// ---- the same from outside ----

/// Runs one of the disabled tests below in a process of its own; what it printed, and its status behind it.
std::string run_alone(const std::string& before, const char* name) {
    char self[4096] = {};
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0) return "";
    const std::string command = (before.empty() ? test::emulator : before) + " " + self +
                                " --gtest_also_run_disabled_tests --gtest_filter=StopWorldAlone.DISABLED_" + name + " 2>&1; echo status $?";
    std::string out;
    FILE* const pipe = popen(command.c_str(), "r");
    char line[4096];
    while (pipe != nullptr && fgets(line, sizeof line, pipe) != nullptr) out += line;
    if (pipe != nullptr) pclose(pipe);
    return out;
}

const char* name_of(Result result) {
    return result == Result::stopped ? "stopped" : result == Result::not_stopped ? "not stopped" : "failed";
}

void report_one_check(const char* when) {
    static ArenaFinder arena(8);
    static std::uintptr_t root;
    root = arena.block(3).begin;
    asm volatile("" ::"r"(&root) : "memory");  // it is never read
    ArenaCheck check(arena);
    check.run();
    std::printf("%s: %s, %zu threads, %s\n", when, name_of(check.result), check.threads,
                check.visited && check.seen == check.result && arena[3] == Reach::reachable ? "global found" : "global lost");
    std::fflush(stdout);
}

TEST(StopWorldAlone, DISABLED_Single) { report_one_check("single"); }

TEST(StopWorldAlone, DISABLED_WithThreads) {
    for (int t = 0; t < 3; ++t)
        std::thread([] {
            for (;;) pause();
        }).detach();
    // Where nobody is stopped, mappings vanish while they are read.
    std::thread([] {
        constexpr std::size_t size = 1 << 20;
        for (;;) {
            void* const memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
            munmap(memory, size);
        }
    }).detach();
    report_one_check("threads");
    report_one_check("again");
    _exit(0);
}

TEST(StopWorldAlone, DISABLED_AtExit) {
    std::thread([] {
        for (;;) {
        }
    }).detach();
    std::thread([] {
        for (;;) pause();
    }).detach();
    static struct AtEnd {
        ~AtEnd() { report_one_check("at exit"); }
    } at_end;
    (void)at_end;
}

TEST(StopWorldAlone, DISABLED_MainEnded) {
    std::thread([] {
        usleep(100000);
        report_one_check("main ended");
        _exit(0);
    }).detach();
    // The thread only, without unwinding through the test.
    syscall(SYS_exit, 0);
}

/// From now on these system calls get `action`.
void forbid(std::initializer_list<long> calls, std::uint32_t action) {
    std::vector<sock_filter> filter{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
    for (const long call : calls) {
        filter.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(call), 0, 1));
        filter.push_back(BPF_STMT(BPF_RET | BPF_K, action));
    }
    filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) != 0)
        std::puts("no filter");
}

void sandboxed_check(std::initializer_list<long> calls, std::uint32_t action) {
    std::thread([] {
        for (;;) pause();
    }).detach();
    forbid(calls, action);
    report_one_check("sandbox");
    _exit(0);
}

TEST(StopWorldAlone, DISABLED_SandboxWithErrors) {
    sandboxed_check({SYS_ptrace, SYS_process_vm_readv, SYS_ioctl}, SECCOMP_RET_ERRNO | EPERM);
}
TEST(StopWorldAlone, DISABLED_SandboxWithoutClone) { sandboxed_check({SYS_clone}, SECCOMP_RET_ERRNO | EPERM); }
TEST(StopWorldAlone, DISABLED_SandboxThatKills) { sandboxed_check({SYS_ptrace}, SECCOMP_RET_KILL_PROCESS); }

TEST(StopWorldAlone, DISABLED_GaveUpRights) {
    std::thread([] {
        for (;;) pause();
    }).detach();
    // The kernel makes such a process not dumpable.
    if (setresuid(65534, 65534, 65534) != 0) std::puts("not root");
    report_one_check("gave up");
    _exit(0);
}

TEST(StopWorldAlone, DISABLED_NoDescriptors) {
    const rlimit none{0, 0};
    setrlimit(RLIMIT_NOFILE, &none);
    report_one_check("no descriptors");
}

TEST(StopWorldAlone, DISABLED_NoMemory) {
    std::thread([] {
        for (;;) pause();
    }).detach();
    const rlimit none{0, 0};
    setrlimit(RLIMIT_AS, &none);
    report_one_check("no memory");
    _exit(0);
}

TEST(StopWorldAlone, FallsBack) {
    for (const char* name : {"SandboxWithErrors", "SandboxWithoutClone", "SandboxThatKills"}) {
        const std::string out = run_alone("", name);
        if (out.find("no filter") != std::string::npos) GTEST_SKIP() << "no seccomp here";
        EXPECT_NE(out.find("sandbox: not stopped, 1 threads, global found"), std::string::npos) << out;
    }
}

TEST(StopWorldAlone, TellsWhenNothingCanBeKnown) {
    const std::string descriptors = run_alone("", "NoDescriptors");
    EXPECT_NE(descriptors.find("no descriptors: not stopped, 1 threads, global lost"), std::string::npos) << descriptors;
    const std::string memory = run_alone("", "NoMemory");
    EXPECT_NE(memory.find("no memory: not stopped, 1 threads, global lost"), std::string::npos) << memory;
}

TEST_F(StopWorld, AtExitWithOthersRunning) {
    const std::string out = run_alone("", "AtExit");
    EXPECT_NE(out.find("at exit: stopped, 3 threads, global found"), std::string::npos) << out;
    EXPECT_NE(out.find("status 0"), std::string::npos) << out;
}

TEST_F(StopWorld, AfterGivingUpRights) {
    const std::string out = run_alone("", "GaveUpRights");
    if (out.find("not root") != std::string::npos) GTEST_SKIP() << "not root";
    EXPECT_NE(out.find("gave up: stopped, 2 threads, global found"), std::string::npos) << out;
}

TEST_F(StopWorld, WhenTheMainThreadEnded) {
    const std::string out = run_alone("", "MainEnded");
    EXPECT_NE(out.find("main ended: stopped, 1 threads, global found"), std::string::npos) << out;
}

class Traced : public StopWorld, public testing::WithParamInterface<std::pair<const char*, const char*>> {};

TEST_P(Traced, FallsBack) {
    if (std::system((std::string(GetParam().first) + " --version >/dev/null 2>&1").c_str()) != 0) GTEST_SKIP() << "no such program";
    const std::string single = run_alone(GetParam().second, "Single");
    // A process of one thread stands still without help.
    EXPECT_NE(single.find("single: stopped, 1 threads, global found"), std::string::npos) << single;
    const std::string several = run_alone(GetParam().second, "WithThreads");
    EXPECT_NE(several.find("threads: not stopped, 1 threads, global found"), std::string::npos) << several;
    EXPECT_NE(several.find("again: not stopped, 1 threads, global found"), std::string::npos) << several;
}

INSTANTIATE_TEST_SUITE_P(By, Traced,
                         testing::Values(std::pair("strace", "strace -f -o /dev/null"), std::pair("gdb", "gdb -q -batch -ex run --args")));

}  // namespace
}  // namespace mpmm
