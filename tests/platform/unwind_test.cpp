// SPDX-License-Identifier: Apache-2.0
// Stacks, compared frame by frame with those of libgcc's unwinder at the same point, and walks over stacks that are broken on purpose. Most
// telling when compiled without frame pointers.
#include "platform/unwind.hpp"

#include <gtest/gtest.h>

#if defined(__x86_64__) && defined(__linux__)

#include <algorithm>
#include <alloca.h>
#include <atomic>
#include <cerrno>
#include <csetjmp>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <pthread.h>
#include <random>
#include <sys/mman.h>
#include <sys/time.h>
#include <thread>
#include <ucontext.h>
#include <unwind.h>
#include <vector>

// ThreadSanitizer calls handlers later than the system did, so that nothing of what they are told is true any more.
#if defined(__SANITIZE_THREAD__)
#define MPMM_TEST_LATE_SIGNALS
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define MPMM_TEST_LATE_SIGNALS
#endif
#endif

namespace mpmm::unwind {
namespace {

constexpr std::size_t max_frames = 512;

struct Stack {
    std::uintptr_t frames[max_frames];
    std::size_t count = 0;
    bool operator==(const Stack& other) const { return count == other.count && std::equal(frames, frames + count, other.frames); }
};

struct Listing {
    Registers from;
    Stack stack;
};

_Unwind_Reason_Code each(_Unwind_Context* context, void* argument) {
    auto& [from, stack] = *static_cast<Listing*>(argument);
    const std::uintptr_t pc = _Unwind_GetIP(context);
    if (stack.count == 0 && (pc != from.pc || _Unwind_GetCFA(context) != from.sp)) return _URC_NO_REASON;
    if (pc == 0 || stack.count == max_frames) return _URC_NORMAL_STOP;
    stack.frames[stack.count++] = pc;
    return _URC_NO_REASON;
}

/// Not `static` data: several threads compare at once.
struct Outcome {
    Stack mine, theirs;
    bool equal() const { return mine.count > 1 && mine == theirs; }
};

[[gnu::noinline]] void take(Outcome& outcome, const Registers& from, bool exact) {
    Listing listing{from, {}};
    _Unwind_Backtrace(each, &listing);
    outcome.theirs = listing.stack;
    errno = 4711;
    outcome.mine.count = capture(from, exact, outcome.mine.frames, max_frames);
    if (errno != 4711) outcome.mine.count = 0;
}

std::atomic<unsigned> compared{0}, different{0};

/// Compares the stack of its caller; counts instead of asserting, because it runs in signal handlers too.
[[gnu::noinline]] int compare() {
    Outcome outcome;
    take(outcome, caller(), false);
    ++compared;
    if (!outcome.equal()) ++different;
    return static_cast<int>(outcome.mine.count);
}

class Unwind : public testing::Test {
  protected:
    void SetUp() override { compared = different = 0; }
    static void expect_equal(unsigned at_least) {
        EXPECT_GE(compared.load(), at_least);
        EXPECT_EQ(different.load(), 0u);
    }
};

/// Without a tail call, and with something to do after the call.
template <class Call>
[[gnu::always_inline]] inline int after(Call call) {
    int result = call();
    asm volatile("" : "+r"(result)::"memory");
    return result + 1;
}

// ---- all kinds of frames ----

using Recursion = int (*)(int);
Recursion any(int depth);

template <int Bytes>
[[gnu::noinline]] int with_frame(int depth) {
    volatile char buffer[Bytes];
    buffer[0] = static_cast<char>(depth);
    buffer[Bytes - 1] = 1;
    const int result = after([&] { return depth == 0 ? compare() : any(depth)(depth - 1); });
    return result + buffer[Bytes - 1];
}
[[gnu::noinline]] int with_alloca(int depth) {
    volatile char* const buffer = static_cast<char*>(alloca(static_cast<std::size_t>(16 + depth * 24)));
    buffer[0] = static_cast<char>(depth);
    return after([&] { return depth == 0 ? compare() : any(depth)(depth - 1); }) + buffer[0];
}
[[gnu::noinline]] int with_alignment(int depth) {
    alignas(128) volatile char buffer[256];
    volatile char* const more = static_cast<char*>(alloca(static_cast<std::size_t>(16 + depth * 8)));
    buffer[0] = static_cast<char>(depth);
    more[0] = 1;
    return after([&] { return depth == 0 ? compare() : any(depth)(depth - 1); }) + buffer[0] + more[0];
}
[[gnu::noinline]] int with_lambda(int depth) {
    const std::function<int(int)> call = [=](int down) { return after([&] { return depth == 0 ? compare() : any(down)(down - 1); }); };
    return after([&] { return call(depth); });
}
[[gnu::noinline]] int with_qsort(int depth) {
    static thread_local int down;
    down = depth;
    int numbers[2] = {2, 1};
    std::qsort(numbers, 2, sizeof(int), [](const void*, const void*) {
        const int mine = down;
        return after([=] { return mine == 0 ? compare() : any(mine)(mine - 1); });
    });
    return numbers[0];
}
[[gnu::noinline]] int with_sort(int depth) {
    int numbers[] = {2, 1};
    bool done = false;
    std::sort(numbers, numbers + 2, [&](int a, int b) {
        if (!done) after([&] { return depth == 0 ? compare() : any(depth)(depth - 1); });
        done = true;
        return a < b;
    });
    return numbers[0];
}
[[gnu::noinline]] int with_exception(int depth) {
    struct AtEnd {
        int down;
        ~AtEnd() {
            after([this] { return down == 0 ? compare() : any(down)(down - 1); });
        }
    };
    try {
        const AtEnd end{depth};
        throw depth;
    } catch (int caught) {
        return after([&] { return caught > 2 ? 0 : compare(); });
    }
}
[[gnu::noinline]] int with_huge_frame(int depth) {
    volatile char buffer[300'000];  // more than a packed rule can say
    buffer[0] = static_cast<char>(depth);
    return after([&] { return depth == 0 ? compare() : with_frame<40>(depth - 1); }) + buffer[0];
}

thread_local std::minstd_rand numbers{1};
Recursion any(int) {
    static constexpr Recursion all[] = {with_frame<1>,      with_frame<24>, with_frame<200>, with_frame<5000>,
                                        with_frame<70'000>, with_alloca,    with_alignment,  with_lambda,
                                        with_qsort,         with_sort,      with_exception,  with_huge_frame};
    return all[numbers() % std::size(all)];
}

TEST_F(Unwind, AllKindsOfFrames) {
    for (int depth = 0; depth < 40; ++depth)
        for (int i = 0; i < 10; ++i) any(depth)(depth);
    for (const Recursion each : {Recursion{with_alignment}, Recursion{with_exception}, Recursion{with_huge_frame}, Recursion{with_qsort}})
        each(0);
    expect_equal(400);
}

TEST_F(Unwind, EightThreads) {
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 8; ++t)
        threads.emplace_back([t] {
            numbers.seed(t + 1);
            for (int i = 0; i < 300; ++i) any(1)(i % 20);
            if (t == 0) forget();
        });
    for (auto& thread : threads) thread.join();
    expect_equal(2400);
}

TEST_F(Unwind, ForgettingOften) {
    for (int i = 0; i < 200; ++i) {
        any(5)(5);
        forget();
    }
    expect_equal(200);
}

struct AtStart {
    AtStart() {
        frames = after([] { return compare(); }), equal = different == 0;
    }
    int frames;
    bool equal;
} const at_start;

TEST_F(Unwind, StaticInitialisers) {
    EXPECT_GT(at_start.frames, 3);
    EXPECT_TRUE(at_start.equal);
}

TEST_F(Unwind, LimitAndFirstFrame) {
    const Registers from = caller();
    std::uintptr_t frames[4] = {0, 0, 77, 0};
    EXPECT_EQ(capture(from, false, frames, 0), 0u);
    EXPECT_EQ(frames[0], 0u);
    EXPECT_EQ(capture(from, false, frames, 2), 2u);
    EXPECT_EQ(frames[0], from.pc);
    EXPECT_EQ(frames[2], 77u);
}

[[gnu::noinline]] int compare_full() {
    const Registers from = caller();
    Stack fast, full;
    fast.count = capture(from, false, fast.frames, max_frames);
    full.count = capture_full(from, false, full.frames, max_frames);
    EXPECT_TRUE(fast == full);
    std::uintptr_t two[3] = {0, 0, 77};
    EXPECT_EQ(capture_full(from, false, two, 2), 2u);
    EXPECT_EQ(two[1], full.frames[1]);
    EXPECT_EQ(two[2], 77u);
    return 0;
}
TEST_F(Unwind, FullWay) {
    after(compare_full);
    ASSERT_TRUE(prepare_full());
    EXPECT_TRUE(prepare_full());
    after(compare_full);
    // Not on this stack: capture() answers.
    std::uintptr_t frames[2];
    EXPECT_EQ(capture_full({1, 8, 8}, false, frames, 2), 1u);
}

// ---- other stacks ----

ucontext_t main_context, fiber_context;
void fiber() {
    for (int i = 0; i < 20; ++i) any(i)(i);
    swapcontext(&fiber_context, &main_context);
}
void run_fiber() {
    const std::size_t size = std::size_t{16} << 20;
    void* const stack = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(stack, MAP_FAILED);
    getcontext(&fiber_context);
    fiber_context.uc_stack = {stack, 0, size};
    makecontext(&fiber_context, fiber, 0);
    swapcontext(&main_context, &fiber_context);
    munmap(fiber_context.uc_stack.ss_sp, fiber_context.uc_stack.ss_size);
}
TEST_F(Unwind, Fibers) {
    for (int round = 0; round < 5; ++round) run_fiber();
    expect_equal(100);
}

#if !defined(MPMM_TEST_LATE_SIGNALS)

/// In a handler: its own stack through the signal frame, and the interrupted code's.
void on_signal(int, siginfo_t*, void* context) {
    const int saved = errno;
    after(compare);
    static thread_local Outcome outcome;
    take(outcome, interrupted(context), true);
    ++compared;
    if (!outcome.equal()) ++different;
    errno = saved;
}
[[gnu::noinline]] std::uint64_t leaf(std::uint64_t value) {
    for (int i = 0; i < 200; ++i) value = value * 6364136223846793005u + (value >> 13);
    return value;
}
[[gnu::noinline]] std::uint64_t busy(std::uint64_t value, int depth) {
    volatile char buffer[64];
    buffer[0] = static_cast<char>(value);
    value = depth == 0 ? leaf(value) : busy(value + 1, depth - 1) ^ leaf(value);
    return value + static_cast<std::uint64_t>(buffer[0]);
}
void interrupt_often(int flags) {
    struct sigaction action = {}, before;
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_RESTART | flags;
    sigaction(SIGPROF, &action, &before);
    raise(SIGPROF);
    itimerval every{{0, 1000}, {0, 1000}};
    setitimer(ITIMER_PROF, &every, nullptr);
    std::uint64_t value = 1;
    for (int i = 0; compared < 100 && i < 10'000'000; ++i) value = busy(value, i % 30);
    every = {};
    setitimer(ITIMER_PROF, &every, nullptr);
    sigaction(SIGPROF, &before, nullptr);
    EXPECT_NE(value, 0u);
}
TEST_F(Unwind, SignalHandlers) {
    interrupt_often(0);
    expect_equal(100);
}
TEST_F(Unwind, SignalHandlersOnTheirOwnStack) {
    std::vector<char> memory(256 << 10);
    stack_t stack{}, before{};
    stack.ss_sp = memory.data();
    stack.ss_size = memory.size();
    ASSERT_EQ(sigaltstack(&stack, &before), 0);
    interrupt_often(SA_ONSTACK);
    sigaltstack(&before, nullptr);
    expect_equal(100);
}

sigjmp_buf back;
Stack wild;
void on_fault(int, siginfo_t*, void* context) {
    wild.count = capture(interrupted(context), true, wild.frames, max_frames);
    siglongjmp(back, 1);
}
/// UBSan would look at the function before it calls it, and fault a little earlier.
__attribute__((noinline, no_sanitize("undefined"))) int call(int (*function)()) {
    asm("" : "+r"(function));
    int result = function();
    asm volatile("" : "+r"(result)::"memory");
    return result + 1;
}
TEST_F(Unwind, CallOfNothing) {
    struct sigaction action = {}, before;
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGSEGV, &action, &before);
    Outcome here;
    take(here, caller(), false);
    if (sigsetjmp(back, 1) == 0) call(nullptr);
    sigaction(SIGSEGV, &before, nullptr);
    // The address that is no code, in call(), in this function, and then whoever called this.
    ASSERT_GE(wild.count, here.mine.count + 3);
    EXPECT_EQ(wild.frames[0], 0u);
    EXPECT_TRUE(std::equal(here.mine.frames, here.mine.frames + here.mine.count, wild.frames + wild.count - here.mine.count));
}

#endif

}  // namespace
}  // namespace mpmm::unwind

#endif
