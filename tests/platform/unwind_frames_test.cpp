// SPDX-License-Identifier: Apache-2.0
// Stacks along frame pointers, compared with those of libgcc's unwinder at the same point. For machines without anything better, and where
// compilers keep frame pointers unless told otherwise.
#include "platform/unwind.hpp"

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <gtest/gtest.h>
#include <thread>
#include <unwind.h>
#include <vector>

namespace mpmm::unwind {
namespace {

constexpr std::size_t most = 256;
using Stack = std::vector<std::uintptr_t>;

Stack by_frames(const Registers& from, bool exact) {
    Stack stack(most);
    stack.resize(capture(from, exact, stack.data(), most));
    return stack;
}

/// From the frame with `from` on.
Stack by_tables(std::uintptr_t from) {
    Stack stack;
    _Unwind_Backtrace(
        [](_Unwind_Context* context, void* into) {
            if (_Unwind_GetIP(context) != 0) static_cast<Stack*>(into)->push_back(_Unwind_GetIP(context));
            return _URC_NO_REASON;
        },
        &stack);
    stack.erase(stack.begin(), std::find(stack.begin(), stack.end(), from));
    return stack;
}

[[gnu::noinline]] void compare_here() {
    const Registers from = caller();
    const Stack mine = by_frames(from, false);
    EXPECT_GT(mine.size(), 3u);
    EXPECT_EQ(mine, by_tables(from.pc));
}

/// Something is left to do after the call, so that it is no jump.
[[gnu::noinline]] int recurse(int depth) {
    volatile char room[300];
    room[0] = static_cast<char>(depth);
    if (depth == 0) compare_here();
    else recurse(depth - 1);
    return room[0];
}

TEST(UnwindFrames, AreThoseOfTheTables) { recurse(100); }

TEST(UnwindFrames, InAThread) { std::thread(recurse, 20).join(); }

TEST(UnwindFrames, NoMoreThanThereIsRoomFor) {
    std::uintptr_t frames[3];
    EXPECT_EQ(capture(caller(), false, frames, 3), 3u);
    EXPECT_EQ(capture(caller(), false, frames, 0), 0u);
}

Stack interrupted_stack, handlers_stack;

TEST(UnwindFrames, OfInterruptedCode) {
    struct sigaction action{}, before{};
    action.sa_flags = SA_SIGINFO;
    action.sa_sigaction = [](int, siginfo_t*, void* context) {
        const Registers from = interrupted(context);
        interrupted_stack = by_frames(from, true);
        handlers_stack = by_tables(from.pc);
    };
    sigaction(SIGUSR1, &action, &before);
    raise(SIGUSR1);
    sigaction(SIGUSR1, &before, nullptr);
    ASSERT_GT(interrupted_stack.size(), 3u);
    // The C library's function was interrupted in the middle: it may have no frame yet, so that its caller is missing.
    EXPECT_EQ(interrupted_stack.front(), handlers_stack.front());
    EXPECT_NE(std::search(handlers_stack.begin(), handlers_stack.end(), interrupted_stack.end() - 3, interrupted_stack.end()),
              handlers_stack.end());
}

TEST(UnwindFrames, OverABrokenStackTheyEnd) {
    const Registers whole = caller();
    std::uintptr_t frames[most], record[4] = {};
    const auto count = [&](std::uintptr_t fp) {
        return capture({whole.pc, reinterpret_cast<std::uintptr_t>(record), fp}, false, frames, most);
    };
    const auto at = reinterpret_cast<std::uintptr_t>(record);
    EXPECT_EQ(count(0), 1u);
    EXPECT_EQ(count(at + 1), 1u);
    EXPECT_EQ(count(at - 64), 1u);
    EXPECT_EQ(count(UINTPTR_MAX - 7), 1u);
    record[0] = at;  // its own caller
    record[1] = whole.pc;
    EXPECT_EQ(count(at), 2u);
    record[0] = 0;
    EXPECT_EQ(count(at), 2u);
    record[1] = 0;
    EXPECT_EQ(count(at), 1u);
}

}  // namespace
}  // namespace mpmm::unwind
