// SPDX-License-Identifier: Apache-2.0
// Clean programs that are no easy company: signals among sigaction() calls, handlers in fork's and vfork's children, small signal stacks,
// limits on memory, and threads that are missing in a forked child.
#include "detect/clean.hpp"

#include <atomic>
#include <csetjmp>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <iterator>
#include <new>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace mpmm::detect {
namespace {

void ended_with(pid_t child, int code) {
    int status = -1;
    must(child > 0 && ::waitpid(child, &status, 0) == child, "child");
    must(WIFEXITED(status) && WEXITSTATUS(status) == code, "the child's status");
}

volatile sig_atomic_t calls;
void count_call(int) { calls = calls + 1; }

void handle(int signal, void (*handler)(int), int flags = 0) {
    struct sigaction action{};
    action.sa_handler = handler;
    action.sa_flags = flags;
    must(::sigaction(signal, &action, nullptr) == 0, "sigaction");
}

// ---- blocks of no bytes among guarded ones ----

void allocate_and_free(std::size_t size) {
    for (int i = 0; i < 50000; ++i) {
        void* const block = std::malloc(size);
        must(block != nullptr, "memory");
        std::free(block);
    }
}

void blocks_of_no_bytes() {
    std::thread none(allocate_and_free, 0), some(allocate_and_free, 100), more(allocate_and_free, 100);
    none.join();
    some.join();
    more.join();
}

// ---- sigaction() where it is allowed, and seldom called ----

void ask_for_action(int) {
    struct sigaction current;
    must(::sigaction(SIGSEGV, nullptr, &current) == 0, "sigaction in a handler");
    calls = calls + 1;
}

void sigaction_in_handler_interrupts_sigaction() {
    handle(SIGUSR1, ask_for_action);
    // Not setitimer(): its alarm is the one that ends a test that hangs.
    timer_t timer{};
    sigevent event{};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGUSR1;
    must(::timer_create(CLOCK_MONOTONIC, &event, &timer) == 0, "timer_create");
    const itimerspec often{{0, 50000}, {0, 50000}};
    must(::timer_settime(timer, 0, &often, nullptr) == 0, "timer_settime");
    while (calls < 2000) handle(SIGSEGV, count_call);
    must(::timer_delete(timer) == 0, "timer_delete");
}

void sigaction_in_forked_child() {
    std::atomic<bool> ends{false};
    const auto keep_setting = [&ends] {
        while (!ends) handle(SIGSEGV, count_call);
    };
    std::thread one(keep_setting), other(keep_setting);
    for (int i = 0; i < 150; ++i) {
        const pid_t child = ::fork();
        if (child == 0) {
            ::alarm(20);
            handle(SIGSEGV, SIG_DFL);
            struct sigaction current{};
            ::_exit(::sigaction(SIGSEGV, nullptr, &current) == 0 && current.sa_handler == SIG_DFL ? 0 : 1);
        }
        ended_with(child, 0);
    }
    ends = true;
    one.join();
    other.join();
}

sigjmp_buf back;
void jump_back(int) {
    calls = calls + 1;
    siglongjmp(back, 1);
}

void fault() {
    if (sigsetjmp(back, 1) == 0) {
        *reinterpret_cast<volatile char*>(std::uintptr_t{8}) = 1;
        must(false, "a fault");
    }
}

void signal_in_vforked_child_stays_there() {
    handle(SIGSEGV, jump_back);
    const pid_t child = ::vfork();
    if (child == 0) {
        std::signal(SIGSEGV, SIG_DFL);
        ::execl("/proc/self/exe", "clean", "nothing", nullptr);
        ::_exit(127);
    }
    ended_with(child, 0);
    fault();
    must(calls == 1, "the parent's handler");
}

// ---- SIGSEGV that somebody sends ----

/// A read that gets its byte well after the signal; whether it was not interrupted.
bool reads_through_sent_segv() {
    int ends[2];
    must(::pipe(ends) == 0, "pipe");
    const pid_t reader = ::getpid(), sender = ::fork();
    if (sender == 0) {
        ::usleep(100000);
        const bool sent = ::kill(reader, SIGSEGV) == 0;
        ::usleep(100000);
        ::_exit(sent && ::write(ends[1], "x", 1) == 1 ? 0 : 1);
    }
    char byte = 0;
    const bool whole = ::read(ends[0], &byte, 1) == 1;
    ended_with(sender, 0);
    ::close(ends[0]);
    ::close(ends[1]);
    return whole;
}

void sent_segv_restarts_calls() {
    handle(SIGSEGV, count_call, SA_RESTART);
    must(reads_through_sent_segv() && calls == 1, "SA_RESTART");
    handle(SIGSEGV, count_call);
    must(!reads_through_sent_segv() && calls == 2, "no SA_RESTART");
}

void ignored_segv_interrupts_nothing() {
    handle(SIGSEGV, SIG_IGN);
    must(reads_through_sent_segv(), "SIG_IGN");
}

void ignored_segv_is_ignored_after_exec() {
    const pid_t child = ::fork();
    if (child == 0) {
        handle(SIGSEGV, SIG_IGN);
        // The shell of a 64-bit system cannot load it.
        if (sizeof(void*) == 4) ::unsetenv("LD_PRELOAD");
        ::execl("/bin/sh", "sh", "-c", "kill -SEGV $$; exit 4", nullptr);
        ::_exit(127);
    }
    ended_with(child, 4);
}

void reset_handler_runs_once() {
    handle(SIGSEGV, count_call, static_cast<int>(SA_RESETHAND));
    must(::raise(SIGSEGV) == 0 && calls == 1, "SA_RESETHAND");
    struct sigaction current{};
    must(::sigaction(SIGSEGV, nullptr, &current) == 0 && current.sa_handler == SIG_DFL, "the default after it");
    const pid_t child = ::fork();
    if (child == 0) {
        ::raise(SIGSEGV);
        ::_exit(0);
    }
    int status = 0;
    must(::waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "what was sent ends the process");
}

volatile sig_atomic_t depth, deepest;
void send_again(int signal, siginfo_t* info, void*) {
    must(info->si_signo == signal && info->si_pid == ::getpid(), "who sent it");
    depth = depth + 1;
    if (depth > deepest) deepest = depth;
    calls = calls + 1;
    if (calls < 3) ::raise(signal);
    depth = depth - 1;
}

void handlers_interrupt_themselves_if_wanted() {
    struct sigaction action{};
    action.sa_sigaction = send_again;
    for (const int nested : {0, SA_NODEFER}) {
        calls = 0;
        deepest = 0;
        action.sa_flags = SA_SIGINFO | nested;
        must(::sigaction(SIGBUS, &action, nullptr) == 0, "sigaction");
        must(::raise(SIGBUS) == 0 && calls == 3, "every signal arrives");
        must(deepest == (nested != 0 ? 3 : 1), nested != 0 ? "SA_NODEFER" : "no SA_NODEFER");
    }
}

// ---- a signal stack of 8 KiB ----

alignas(64) char around_stack[64 << 10];

void segv_on_small_stack() {
    constexpr std::size_t size = 8 << 10, begin = sizeof around_stack - size;
    std::memset(around_stack, 0x5a, begin);
    stack_t small{};
    small.ss_sp = around_stack + begin;
    small.ss_size = size;
    must(::sigaltstack(&small, nullptr) == 0, "sigaltstack");
    handle(SIGSEGV, jump_back, SA_ONSTACK);
    for (int i = 0; i < 3; ++i) fault();
    must(calls == 3, "the handler's calls");
    for (std::size_t i = 0; i < begin; ++i) must(around_stack[i] == 0x5a, "what lies below the stack");
}

// ---- memory that can be had no more ----

rlim_t data_in_use() {
    char text[4096];
    std::FILE* const status = std::fopen("/proc/self/status", "r");
    must(status != nullptr, "/proc/self/status");
    long kib = 0;
    while (kib == 0 && std::fgets(text, sizeof text, status) != nullptr) std::sscanf(text, "VmData: %ld", &kib);
    std::fclose(status);
    must(kib > 0, "VmData");
    return static_cast<rlim_t>(kib) << 10;
}

/// While it lives, nothing more can be mapped or made writable: RLIMIT_DATA is reached.
class NoMoreData {
  public:
    explicit NoMoreData(rlim_t rest) {
        must(::getrlimit(RLIMIT_DATA, &before_) == 0, "getrlimit");
        rlimit limit = before_;
        limit.rlim_cur = data_in_use() + rest;
        must(::setrlimit(RLIMIT_DATA, &limit) == 0, "setrlimit");
        fill(1 << 20);
        fill(4 << 10);
    }
    ~NoMoreData() {
        ::setrlimit(RLIMIT_DATA, &before_);
        while (last_ != nullptr) {
            const Filler filler = *last_;
            ::munmap(last_, filler.size);
            last_ = filler.before;
        }
    }
    NoMoreData(const NoMoreData&) = delete;
    NoMoreData& operator=(const NoMoreData&) = delete;

  private:
    struct Filler {
        Filler* before;
        std::size_t size;
    };
    void fill(std::size_t size) {
        for (;;) {
            void* const memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (memory == MAP_FAILED) return;
            last_ = new (memory) Filler{last_, size};
        }
    }
    rlimit before_{};
    Filler* last_ = nullptr;
};

void use_if_there(void* block, std::size_t size) {
    if (block != nullptr) std::memset(block, 2, size);
}

void large_blocks_at_data_limit() {
    std::free(filled(std::malloc(20 << 20), 20 << 20, 'd'));
    const NoMoreData limit(4 << 20);
    for (int i = 0; i < 200; ++i)
        for (const std::size_t size : {std::size_t{20} << 20, std::size_t{100000}}) {
            void* const block = std::malloc(size);
            use_if_there(block, size);
            std::free(block);
        }
}

void medium_blocks_at_data_limit() {
    constexpr std::size_t size = 200000;
    static void* blocks[400];
    for (void*& block : blocks) block = filled(std::malloc(size), size, 'd');
    for (void* const block : blocks) std::free(block);
    const NoMoreData limit(1 << 20);
    for (std::size_t i = 0; i < 100000; ++i) {
        void* const block = std::malloc(i % 3000);
        use_if_there(block, i % 3000);
        std::free(block);
    }
    for (void*& block : blocks) use_if_there(block = std::malloc(size), size);
    for (void* const block : blocks) std::free(block);
}

// ---- blocks that the threads hold which a forked child does not have ----

thread_local char* of_thread;

void forked_child_ends_without_the_other_threads() {
    std::atomic<bool> ready{false}, ends{false};
    std::thread holder([&] {
        of_thread = filled(std::malloc(333), 333, 't');
        char* volatile on_stack = filled(std::malloc(777), 777, 't');
        ready = true;
        while (!ends) ::usleep(1000);
        std::free(on_stack);
        std::free(of_thread);
    });
    while (!ready) ::usleep(1000);
    const pid_t child = ::fork();
    // Exit handlers run, and with them what looks for leaks.
    if (child == 0) std::exit(0);
    ended_with(child, 0);
    ends = true;
    holder.join();
}

constexpr CleanCase cases[] = {
    {"blocks_of_no_bytes", blocks_of_no_bytes},
    {"sigaction_in_handler_interrupts_sigaction", sigaction_in_handler_interrupts_sigaction},
    {"sigaction_in_forked_child", sigaction_in_forked_child},
    {"signal_in_vforked_child_stays_there", signal_in_vforked_child_stays_there},
    {"sent_segv_restarts_calls", sent_segv_restarts_calls},
    {"ignored_segv_interrupts_nothing", ignored_segv_interrupts_nothing},
    {"ignored_segv_is_ignored_after_exec", ignored_segv_is_ignored_after_exec},
    {"reset_handler_runs_once", reset_handler_runs_once},
    {"handlers_interrupt_themselves_if_wanted", handlers_interrupt_themselves_if_wanted},
    {"segv_on_small_stack", segv_on_small_stack},
    {"large_blocks_at_data_limit", large_blocks_at_data_limit},
    {"medium_blocks_at_data_limit", medium_blocks_at_data_limit},
    {"forked_child_ends_without_the_other_threads", forked_child_ends_without_the_other_threads},
};

}  // namespace

CleanCases clean_hostile_cases() { return {cases, std::size(cases)}; }

}  // namespace mpmm::detect
