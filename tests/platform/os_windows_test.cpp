// SPDX-License-Identifier: Apache-2.0
// What os.hpp and thread.hpp promise, on Windows.
#include "platform/lock.hpp"
#include "platform/thread.hpp"
#include "platform/thread_pointer.hpp"
#include "support/without_windows.hpp"

#include <cstring>
#include <fstream>
#include <gtest/gtest.h>
#include <string>
#include <thread>
#include <vector>

namespace mpmm::test {
namespace {

constexpr std::size_t page = 4096;

// ---- pages ----

int discarded = 0;

/// Of what it may do with the content, it keeps half and drops half.
DWORD WINAPI discard_some(void* address, SIZE_T size) {
    ++discarded;
    ::VirtualAlloc(address, size / 2, MEM_RESET, PAGE_READWRITE);
    return ERROR_SUCCESS;
}
DWORD WINAPI discard_nothing(void*, SIZE_T) { return ERROR_INVALID_PARAMETER; }

BOOL WINAPI memory_is_short(MEMORYSTATUSEX* status) {
    status->ullAvailPageFile = 1000;
    return TRUE;
}

/// `size` bytes, all of them but the first and the last page purged.
void purge_all_but_the_ends(std::size_t size) {
    auto* const memory = static_cast<char*>(os::map(size, nullptr));
    ASSERT_NE(memory, nullptr);
    std::memset(memory, 1, size);
    EXPECT_TRUE(os::purge(memory + page, size - 2 * page));
    for (std::size_t at = page; at < size - page; ++at) ASSERT_EQ(memory[at], 0);
    EXPECT_EQ(memory[page - 1], 1);
    EXPECT_EQ(memory[size - page], 1);
    std::memset(memory, 1, size);
    EXPECT_FALSE(os::purge(memory + 1, page)) << "whole pages only";
    EXPECT_TRUE(os::unmap(memory, size));
}

TEST(OsWindows, PurgedPagesReadAsZeroWhateverTheSystemHas) {
    for (const auto function : {os::windows::functions.discard.load(), os::windows::DiscardVirtualMemory{nullptr}, &discard_some}) {
        const Replaced with(os::windows::functions.discard, function);
        purge_all_but_the_ends(100 * page);
        purge_all_but_the_ends(1000 * page);
        const Replaced also(os::windows::functions.memory_status, os::windows::MemoryStatus{&memory_is_short});
        const int before = discarded;
        purge_all_but_the_ends(1000 * page);
        EXPECT_EQ(discarded > before, function == &discard_some) << "what is short is not given away";
    }
}

TEST(OsWindows, WhatCannotBePurgedIsSaid) {
    const Replaced with(os::windows::functions.discard, os::windows::DiscardVirtualMemory{&discard_nothing});
    void* const memory = os::map(page, nullptr);
    EXPECT_FALSE(os::purge(memory, page));
    EXPECT_TRUE(os::unmap(memory, page));
}

TEST(OsWindows, PagesWithoutAccessArePurgedToo) {
    auto* const memory = static_cast<char*>(os::map(4 * page, nullptr));
    std::memset(memory, 1, 4 * page);
    EXPECT_TRUE(os::protect(memory + page, 2 * page, false));
    EXPECT_TRUE(os::is_readable(memory, page));
    EXPECT_FALSE(os::is_readable(memory, page + 1));
    EXPECT_FALSE(os::is_readable(memory + page, 1));
    EXPECT_TRUE(os::protect(memory + page, page, true));
    EXPECT_EQ(memory[page], 1) << "access alone changes no content";
    EXPECT_TRUE(os::purge(memory + page, 2 * page));
    EXPECT_TRUE(os::protect(memory + page, 2 * page, true));
    EXPECT_EQ(memory[page], 0);
    EXPECT_EQ(memory[3 * page - 1], 0);
    EXPECT_EQ(memory[3 * page], 1);
    EXPECT_TRUE(os::unmap(memory, 4 * page));
}

TEST(OsWindows, ReservedAddressesTakePagesWhereTheyGetAccess) {
    constexpr std::size_t size = std::size_t{1} << 34;
    auto* const memory = static_cast<char*>(os::reserve(size, false));
    ASSERT_NE(memory, nullptr) << "addresses cost nothing";
    EXPECT_FALSE(os::is_readable(memory, 1));
    EXPECT_TRUE(os::protect(memory + 8 * page, 2 * page, true));
    memory[8 * page] = 1;
    EXPECT_TRUE(os::protect(memory + 7 * page, 4 * page, false)) << "those without pages are without access already";
    EXPECT_FALSE(os::is_readable(memory + 8 * page, 1));
    EXPECT_TRUE(os::unmap(memory, size));
    EXPECT_FALSE(os::unmap(memory, size)) << "nothing is there";
}

TEST(OsWindows, AHintIsAWishOnly) {
    auto* const first = static_cast<char*>(os::map(page, nullptr));
    void* const second = os::map(page, first);
    EXPECT_NE(second, nullptr);
    EXPECT_NE(second, first);
    EXPECT_TRUE(os::unmap(second, page));
    EXPECT_TRUE(os::unmap(first, page));
}

TEST(OsWindows, TheErrorOfTheProgramIsKept) {
    ::SetLastError(4711);
    void* const memory = os::map(page, nullptr);
    os::purge(memory, page);
    os::unmap(memory, page);
    os::unmap(memory, page);
    EXPECT_EQ(os::map_aligned(std::size_t{1} << 60, page, true), nullptr);
    EXPECT_EQ(os::environment("MPMM_NO_SUCH_VARIABLE"), nullptr);
    EXPECT_EQ(::GetLastError(), 4711u);
}

// ---- waiting ----

TEST(OsWindows, LocksWorkWhereNobodyWaitsOnAddresses) {
    const OldWindows old;
    Mutex mutex;
    long plain = 0;
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
        threads.emplace_back([&] {
            for (int i = 0; i < 5000; ++i) {
                const Guard guard(mutex);
                ++plain;
            }
        });
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(plain, 20000);
}

TEST(OsWindows, WhoWaitsSleepsAndIsWoken) {
    ASSERT_NE(os::windows::functions.wait.load(), nullptr);
    Mutex mutex;
    mutex.lock();
    std::thread other([&] {
        const Guard guard(mutex);
        FILETIME made, ended, kernel, user;
        ASSERT_NE(::GetThreadTimes(::GetCurrentThread(), &made, &ended, &kernel, &user), 0);
        EXPECT_LT(user.dwLowDateTime + kernel.dwLowDateTime, 10'000'000u / 5) << "it did not spin for a second";
    });
    ::Sleep(1000);
    mutex.unlock();
    other.join();
}

// ---- threads ----

std::string* events = nullptr;

void note_end(void* argument) { *events += static_cast<const char*>(argument); }
constinit thread::ExitHook hook(&note_end);
constinit thread::ExitHook second_hook(&note_end);

struct Local {
    bool used = false;
    ~Local() {
        if (used) *events += "destructor ";
    }
};
thread_local Local local;

TEST(ExitHook, RunsAfterThreadLocalDestructorsAndOnlyWhereItWasArmed) {
    std::string said;
    events = &said;
    std::thread([] {
        EXPECT_TRUE(hook.arm(const_cast<char*>("hook ")));
        local.used = true;
        EXPECT_TRUE(second_hook.arm(const_cast<char*>("second ")));
    }).join();
    EXPECT_EQ(said, "destructor hook second ");
    std::thread([] {
        EXPECT_TRUE(hook.arm(const_cast<char*>("hook ")));
        hook.disarm();
        hook.disarm();
    }).join();
    EXPECT_EQ(said, "destructor hook second ");
}

TEST(ExitHook, RunsInThreadsThatTheSystemMade) {
    std::string said;
    events = &said;
    const HANDLE thread = ::CreateThread(
        nullptr, 0,
        [](void*) -> DWORD {
            hook.arm(const_cast<char*>("system's"));
            ::ExitThread(0);
        },
        nullptr, 0, nullptr);
    ASSERT_NE(thread, nullptr);
    ::WaitForSingleObject(thread, INFINITE);
    ::CloseHandle(thread);
    EXPECT_EQ(said, "system's");
}

struct One {
    static One* empty() { return &nothing; }
    static One nothing;
};
constinit One One::nothing{};

TEST(ThreadWords, EveryThreadHasItsOwn) {
    using Slot = ThreadSlot<One>;
    One mine, other;
    EXPECT_EQ(Slot::current, &One::nothing);
    EXPECT_FALSE(Slot::exited);
    EXPECT_EQ(ThreadNumber<One>::value, 0u);
    Slot::current = &mine;
    ++ThreadNumber<One>::value;
    ++ThreadNumber<One>::value;
    --ThreadNumber<One>::value;
    std::thread([&] {
        EXPECT_EQ(Slot::current, &One::nothing);
        EXPECT_EQ(ThreadNumber<One>::value, 0u);
        EXPECT_EQ(ThreadPointer<One>::value, nullptr);
        Slot::current = &other;
        Slot::exited = true;
        ThreadPointer<One>::value = &other;
        EXPECT_EQ(Slot::current, &other);
        EXPECT_TRUE(Slot::exited);
        EXPECT_EQ(ThreadPointer<One>::value, &other);
    }).join();
    EXPECT_EQ(Slot::current, &mine);
    EXPECT_FALSE(Slot::exited);
    EXPECT_EQ(ThreadNumber<One>::value, 1u);
    EXPECT_EQ(ThreadPointer<One>::value, nullptr);
    Slot::current = One::empty();
    EXPECT_EQ(Slot::current, &One::nothing);
}

// ---- the rest ----

TEST(OsWindows, LogsAreAppendedTo) {
    const std::string path = ::testing::TempDir() + "mpmm_log_" + std::to_string(os::process_id());
    for (const char* const text : {"one\n", "two\n"}) {
        const int log = os::open_log(path.c_str());
        ASSERT_GE(log, 0);
        EXPECT_TRUE(os::is_open(log));
        os::write(log, text, std::strlen(text));
        os::close(log);
    }
    std::ifstream file(path);
    EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), "one\ntwo\n");
    file.close();
    std::remove(path.c_str());
    EXPECT_LT(os::open_log("Z:\\no\\such\\folder\\log"), 0);
}

TEST(OsWindows, SettingsComeFromTheSystem) {
    ASSERT_NE(::SetEnvironmentVariableA("MPMM_TEST_VARIABLE", "some value"), 0);
    EXPECT_STREQ(os::environment("MPMM_TEST_VARIABLE"), "some value");
    ASSERT_NE(::SetEnvironmentVariableA("MPMM_TEST_VARIABLE", nullptr), 0);
    EXPECT_EQ(os::environment("MPMM_TEST_VARIABLE"), nullptr);
    EXPECT_EQ(os::page_size(), page);
    EXPECT_EQ(static_cast<DWORD>(os::thread_id()), ::GetCurrentThreadId());
    const std::uint64_t before = os::now_ms();
    ::Sleep(100);
    EXPECT_GE(os::now_ms() - before, 50u);
    EXPECT_TRUE(os::is_open(2));
    const int spare = os::spare_error_output();
    EXPECT_TRUE(os::is_open(spare));
    os::close(spare);
    EXPECT_FALSE(os::is_open(spare));
}

}  // namespace
}  // namespace mpmm::test
