// SPDX-License-Identifier: Apache-2.0
// What one thread leaves for others to look at in verify's own tables is complete when they see it, whatever else orders them.
#include "mpmm/mpmm.h"
#include "platform/os.hpp"
#include "platform/thread.hpp"
#include "support/unordered.hpp"
#include "verify/error.hpp"
#include "verify/guarded.hpp"
#include "verify/options.hpp"
#include "verify/stack_depot.hpp"
#include "verify/symbolize.hpp"
#include "verify/threads.hpp"
#include "verify/trace.hpp"

#include <cstring>
#include <gtest/gtest.h>
#include <string>
#include <vector>
#ifdef _WIN32
#include <windows.h>
#endif

namespace mpmm {
namespace {

using test::hand_over_unordered;

TEST(VerifyUnordered, StacksAreCompleteWhenTheyAreFound) {
    static constexpr std::size_t length = 3;
    const auto put = [](std::size_t i) {
        const std::uintptr_t frames[length] = {0x1000 + i, 0x2000 + i % 7, 0x3000};
        return stack_depot::put(frames, length);
    };
    hand_over_unordered(
        5000,
        [&](std::size_t i) {
            EXPECT_NE(put(i), 0u);
            return i + 1;
        },
        [&](std::size_t i) {
            const std::uintptr_t* frames = nullptr;
            EXPECT_EQ(stack_depot::get(put(i - 1), frames), length);
            EXPECT_EQ(frames[0], 0x1000 + i - 1);
        });
}

/// Before any other test with guarded blocks: their region is made once.
TEST(VerifyUnordered, GuardPagesTellOfTheirBlocksWhenTheyAreSeen) {
    constexpr std::size_t count = 100, size = 16;
    guarded::prepare(65530);
    std::thread watcher([] {
        std::uintptr_t begin = 0, end = 0;
        while (!guarded::range(1, begin, end)) std::this_thread::yield();
        EXPECT_LT(begin, end);
    });
    static std::atomic<std::size_t> seen{0};
    std::vector<Place> places(count);
    hand_over_unordered(
        count,
        [&](std::size_t i) -> const std::byte* {
            // One after the other, so that a block's neighbour on one side is always older, and on the other there is none yet.
            while (seen.load(std::memory_order_relaxed) != i) std::this_thread::yield();
            if (!guarded::allocate(size, 16, places[i])) return reinterpret_cast<const std::byte*>(1);
            places[i].record->put(BlockState::live);
            return places[i].user;
        },
        [](const std::byte* block) {
            const std::size_t i = seen.load(std::memory_order_relaxed);
            Place found;
            EXPECT_TRUE(guarded::find(i % 2 == 0 ? block + size - os::page_size() - 1 : block + size, found));
            EXPECT_EQ(found.user, block);
            seen.store(i + 1, std::memory_order_relaxed);
        });
    watcher.join();
    for (const Place& place : places) {
        EXPECT_TRUE(place.record->take(BlockState::live));
        guarded::free(place);
    }
}

TEST(VerifyUnordered, GuardedBlocksAreCompleteWhenTheyAreSeen) {
    guarded::prepare(65530);
    hand_over_unordered(
        300,
        [](std::size_t i) -> const std::byte* {
            Place place;
            if (!guarded::allocate(1 + i, 16, place)) return reinterpret_cast<const std::byte*>(1);
            place.record->size = 1 + i;
            place.record->put(BlockState::live);
            return place.user;
        },
        [](const std::byte* block) {
            ASSERT_NE(block, reinterpret_cast<const std::byte*>(1));
            Place found;
            EXPECT_TRUE(guarded::contains(block));
            ASSERT_TRUE(guarded::find(block, found));
            EXPECT_EQ(found.user, block);
            std::uintptr_t begin = 0, end = 0;
            EXPECT_TRUE(guarded::range(0, begin, end));
            ASSERT_TRUE(found.record->take(BlockState::live));
            EXPECT_NE(found.record->size, 0u);
            guarded::free(found);
        });
}

TEST(VerifyUnordered, TextsOfOptionsAreCompleteWhenTheyAreSeen) {
    hand_over_unordered(
        50,
        [](std::size_t i) {
            EXPECT_EQ(mpmm_set_option("suppressions", ("function_" + std::to_string(i)).c_str()), 0);
            return i + 1;
        },
        [](std::size_t) { EXPECT_EQ(std::strncmp(options::get(options::suppressions), "function_", 9), 0); });
    EXPECT_EQ(mpmm_set_option("suppressions", ""), 0);
}

TEST(VerifyUnordered, TheRingOfOperationsIsMadeOnce) {
    static const char made = 0;
    EXPECT_EQ(mpmm_set_option("trace_ops", "1000"), 0);
    std::thread reader([] {
        char text[1000] = "";
        while (text[0] == 0) {
            report::Writer out(text, sizeof text);
            trace::write(out);
        }
        EXPECT_EQ(std::strncmp(text, "Last ", 5), 0) << text;
    });
    hand_over_unordered(
        200,
        [](std::size_t i) {
            trace::add(trace::Operation::allocate, i + 1, &made, i);
            return i + 1;
        },
        [](std::size_t i) { trace::add(trace::Operation::free, i, &made, 0); });
    reader.join();
    EXPECT_EQ(mpmm_set_option("trace_ops", "0"), 0);
}

/// Where threads have no names by themselves.
void name_thread() {
#ifdef _WIN32
    const HMODULE module = ::GetModuleHandleW(L"kernelbase.dll");
    using Name = HRESULT(WINAPI*)(HANDLE, const wchar_t*);
    reinterpret_cast<Name>(reinterpret_cast<void*>(::GetProcAddress(module, "SetThreadDescription")))(::GetCurrentThread(), L"name");
#endif
}

TEST(VerifyUnordered, NamesOfThreadsThatEndedAreCompleteWhenTheyAreSeen) {
    std::thread reader;
    std::atomic<int> number{-1};
    std::atomic<bool> over{false};
    reader = std::thread([&] {
        while (number.load(std::memory_order_relaxed) < 0) std::this_thread::yield();
        char name[32];
        for (int i = 0; i < 1000 || !over.load(std::memory_order_relaxed); ++i)
            verify_threads::name(static_cast<std::uint16_t>(number.load(std::memory_order_relaxed)), name, sizeof name);
        EXPECT_STRNE(name, "");
    });
    std::thread([&] {
        name_thread();
        number.store(verify_threads::number(), std::memory_order_relaxed);
        verify_threads::ends();
        over.store(true, std::memory_order_relaxed);
    }).join();
    reader.join();
}

TEST(VerifyUnordered, ReportsFollowEachOther) {
    static int reports = 0;
    const auto report = [](std::size_t i) {
        const report::Reporting reporting;
        EXPECT_FALSE(reporting.nested());
        ++reports;
        return i + 1;
    };
    hand_over_unordered(2000, report, [&](std::size_t i) { report(i); });
    EXPECT_EQ(reports, 4000);
}

TEST(VerifyUnordered, SymbolsAreAskedForByOneAtATime) {
    const auto ask = [](std::size_t i) {
        const std::uintptr_t pc = reinterpret_cast<std::uintptr_t>(&std::strlen) + 1;
        symbolize::all(&pc, 1, "0", [](void*, std::size_t, const symbolize::Frame&) {}, nullptr);
        return i + 1;
    };
    hand_over_unordered(50, ask, [&](std::size_t i) { ask(i); });
}

TEST(VerifyUnordered, AHookAtThreadsEndsIsCompleteWhenItIsSeen) {
    for (int round = 0; round < 50; ++round) {
        static std::atomic<int> ended{0};
        thread::ExitHook hook([](void*) { ended.fetch_add(1, std::memory_order_relaxed); });
        ended = 0;
        std::atomic<bool> made{false};
        std::thread other([&] {
            while (!made.load(std::memory_order_relaxed)) std::this_thread::yield();
            if (round % 2 == 0) hook.disarm();
            ASSERT_TRUE(hook.arm(&hook));
        });
        std::thread([&] {
            ASSERT_TRUE(hook.arm(&hook));
            made.store(true, std::memory_order_relaxed);
        }).join();
        other.join();
        EXPECT_EQ(ended.load(), 2);
    }
}

}  // namespace
}  // namespace mpmm
