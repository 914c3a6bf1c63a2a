// SPDX-License-Identifier: Apache-2.0
// What reports and leak checks are made with, on Windows: stacks, modules, faults, stopped threads and what they lead to.
#include "platform/fault.hpp"
#include "platform/modules.hpp"
#include "platform/os_windows.hpp"
#include "platform/reader.hpp"
#include "platform/roots.hpp"
#include "platform/stop_world.hpp"
#include "platform/unwind.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <gtest/gtest.h>
#include <string>
#include <thread>
#include <vector>

namespace mpmm::test {
namespace {

// ---- stacks ----

constexpr std::size_t most = 64;
std::uintptr_t frames[most], stack_pointers[most];
std::size_t count = 0;

// What follows the calls keeps them from being jumps.
[[gnu::noinline]] std::uintptr_t inner() {
    count = unwind::capture(unwind::caller(), frames, stack_pointers, most);
    return frames[0];
}
[[gnu::noinline]] std::uintptr_t middle(std::size_t room) {
    volatile char on_stack[300];
    on_stack[room % 300] = 1;
    return inner() + static_cast<unsigned char>(on_stack[room % 300]);
}
[[gnu::noinline]] std::uintptr_t outer() { return middle(count + 7) + 1; }

bool is_in(std::uintptr_t address, std::uintptr_t (*function)()) {
    return address > reinterpret_cast<std::uintptr_t>(function) && address < reinterpret_cast<std::uintptr_t>(function) + 200;
}

TEST(WindowsUnwind, ListsTheCallers) {
    outer();
    ASSERT_GE(count, 4u);
    const auto in_middle = reinterpret_cast<std::uintptr_t>(&middle);
    EXPECT_TRUE(frames[0] > in_middle && frames[0] < in_middle + 200);
    EXPECT_TRUE(is_in(frames[1], &outer));
    for (std::size_t i = 1; i < count; ++i) EXPECT_GT(stack_pointers[i], stack_pointers[i - 1]);
    modules::Module module;
    ASSERT_TRUE(modules::find(frames[2], module));
    EXPECT_EQ(module.base, reinterpret_cast<std::uintptr_t>(::GetModuleHandleA(nullptr)));
    // The last frames are the system's.
    ASSERT_TRUE(modules::find(frames[count - 1], module));
    EXPECT_NE(module.base, reinterpret_cast<std::uintptr_t>(::GetModuleHandleA(nullptr)));
}

TEST(WindowsUnwind, StopsAtItsLimitAndWithoutAFrame) {
    std::uintptr_t few[2];
    EXPECT_EQ(unwind::capture(unwind::caller(), false, few, 2), 2u);
    const unwind::Registers nowhere{1234, ~std::uintptr_t{0} - 7, 0};
    EXPECT_EQ(unwind::capture(nowhere, false, few, 2), 1u);
    EXPECT_EQ(few[0], 1234u);
}

// ---- modules ----

TEST(WindowsModules, TellWhatIsWhere) {
    static int variable = 1;
    const int constant = 1;
    bool found_code = false, found_variable = false, found_stack = false;
    modules::Mappings mappings;
    modules::Mapping mapping;
    std::uintptr_t last = 0;
    ASSERT_TRUE(mappings.open());
    while (mappings.next(mapping)) {
        EXPECT_GE(mapping.start, last);
        last = mapping.end;
        const auto holds = [&](std::uintptr_t address) { return address >= mapping.start && address < mapping.end; };
        const bool ours = std::strstr(mapping.path, ".exe") != nullptr;
        if (holds(reinterpret_cast<std::uintptr_t>(&outer))) found_code = mapping.executable && !mapping.writable && ours;
        if (holds(reinterpret_cast<std::uintptr_t>(&variable))) found_variable = mapping.writable && !mapping.executable && ours;
        if (holds(reinterpret_cast<std::uintptr_t>(&constant))) found_stack = mapping.writable && mapping.inode == 0;
    }
    EXPECT_TRUE(found_code);
    EXPECT_TRUE(found_variable);
    EXPECT_TRUE(found_stack);
    modules::Module module;
    EXPECT_FALSE(modules::find(reinterpret_cast<std::uintptr_t>(&constant), module));
    EXPECT_FALSE(modules::find(16, module));
}

// ---- reading ----

TEST(WindowsReader, CopiesWhatCanBeRead) {
    constexpr std::size_t page = 4096;
    Reader reader;
    ASSERT_TRUE(reader.ready());
    auto* const memory = static_cast<char*>(os::map(3 * page, nullptr));
    std::memset(memory, 1, 3 * page);
    ASSERT_TRUE(os::protect(memory + page, page, false));
    std::uintptr_t words = 0;
    reader.words(
        reinterpret_cast<std::uintptr_t>(memory), reinterpret_cast<std::uintptr_t>(memory) + 3 * page, Reader::Absent::is_zero,
        [](void* context, const std::uintptr_t* begin, const std::uintptr_t* end) {
            for (; begin != end; ++begin) {
                EXPECT_EQ(*begin, 0x0101010101010101u);
                ++*static_cast<std::uintptr_t*>(context);
            }
        },
        &words);
    EXPECT_EQ(words, 2 * page / sizeof(std::uintptr_t));
    os::unmap(memory, 3 * page);
}

// ---- faults ----

char* faulty = nullptr;
std::atomic<int> faults{0};
fault::Access last_access;
std::size_t fault_frames = 0;

bool open_page(const void* address, fault::Access access, const void* context) {
    if (address < faulty || address >= faulty + 4096) return false;
    ++faults;
    last_access = access;
    fault_frames = unwind::capture(unwind::interrupted(context), true, frames, most);
    return os::protect(faulty, 4096, true);
}

[[gnu::noinline]] int touch() { return *static_cast<volatile char*>(faulty) + 1; }

TEST(WindowsFault, OursIsHandledAndTheStackIsThatOfTheFault) {
    fault::install(&open_page);
    faulty = static_cast<char*>(os::map(4096, nullptr));
    ASSERT_TRUE(os::protect(faulty, 4096, false));
    EXPECT_EQ(touch(), 1);
    EXPECT_EQ(faults.load(), 1);
    EXPECT_EQ(last_access, fault::Access::read);
    ASSERT_GE(fault_frames, 2u);
    const auto in_touch = reinterpret_cast<std::uintptr_t>(&touch);
    EXPECT_TRUE(frames[0] >= in_touch && frames[0] < in_touch + 100);
    ASSERT_TRUE(os::protect(faulty, 4096, false));
    *static_cast<volatile char*>(faulty) = 1;
    EXPECT_EQ(last_access, fault::Access::write);
    // What is not ours ends the program as ever.
    EXPECT_DEATH(*static_cast<volatile char*>(nullptr) = 1, "");
    os::unmap(faulty, 4096);
}

// ---- the world ----

std::atomic<bool> over{false};
std::atomic<std::uint64_t> steps{0};
std::uintptr_t* secret = nullptr;

struct Seen {
    stop_world::Result result;
    std::size_t threads = 0;
    std::uint64_t first = 0, last = 0;
    bool found_on_stack = false, found_global = false, found_hidden = false;
};
// Complemented, so that only what is looked for holds the values.
std::uintptr_t wanted_on_stack = ~std::uintptr_t{0x1122334455667788}, wanted_global = ~std::uintptr_t{0x2233445566778899},
               wanted_hidden = ~std::uintptr_t{0x33445566778899AA};
volatile std::uintptr_t global_holder = 0;

TEST(WindowsStopWorld, OthersStandStillAndTheirRootsAreSeen) {
    std::vector<std::thread> threads;
    std::atomic<int> ready{0};
    for (int i = 0; i < 3; ++i)
        threads.emplace_back([&] {
            volatile std::uintptr_t holder = ~wanted_on_stack;
            ++ready;
            while (!over.load()) ++steps;
            EXPECT_EQ(holder, ~wanted_on_stack);
        });
    while (ready.load() != 3) std::this_thread::yield();
    global_holder = ~wanted_global;
    secret = static_cast<std::uintptr_t*>(os::map(4096, nullptr));
    // By a thread that leaves nothing of it elsewhere.
    std::thread([] { *secret = ~wanted_hidden; }).join();
    Seen seen;
    const auto result = stop_world::run(
        [](void* context, const stop_world::World& world) {
            auto& into = *static_cast<Seen*>(context);
            into.result = world.result;
            into.threads = world.count;
            into.first = steps.load();
            roots::visit(
                world,
                [](void*, std::uintptr_t address, std::uintptr_t& end) {
                    const auto begin = reinterpret_cast<std::uintptr_t>(secret);
                    if (address >= begin && address < begin + 4096) {
                        end = std::min(end, begin + 4096);
                        return true;
                    }
                    if (address < begin) end = std::min(end, begin);
                    return false;
                },
                [](void* to, const std::uintptr_t* begin, const std::uintptr_t* end) {
                    auto& found = *static_cast<Seen*>(to);
                    for (; begin != end; ++begin) {
                        found.found_on_stack = found.found_on_stack || *begin == ~wanted_on_stack;
                        found.found_global = found.found_global || *begin == ~wanted_global;
                        found.found_hidden = found.found_hidden || *begin == ~wanted_hidden;
                    }
                },
                context);
            into.last = steps.load();
        },
        &seen);
    over.store(true);
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(result, stop_world::Result::stopped);
    EXPECT_EQ(seen.result, stop_world::Result::stopped);
    EXPECT_GE(seen.threads, 4u);
    EXPECT_EQ(seen.first, seen.last) << "nobody ran";
    EXPECT_TRUE(seen.found_on_stack);
    EXPECT_TRUE(seen.found_global);
    EXPECT_FALSE(seen.found_hidden);
    os::unmap(secret, 4096);
}

TEST(WindowsStopWorld, ThreadsThatComeAndGoDoNotDisturb) {
    std::atomic<bool> enough{false};
    std::thread churn([&] {
        while (!enough.load()) std::thread([] {}).join();
    });
    for (int i = 0; i < 30; ++i) {
        int ran = 0;
        stop_world::run([](void* context, const stop_world::World&) { ++*static_cast<int*>(context); }, &ran);
        EXPECT_EQ(ran, 1);
    }
    enough.store(true);
    churn.join();
}

}  // namespace
}  // namespace mpmm::test
