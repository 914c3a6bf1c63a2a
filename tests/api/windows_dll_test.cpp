// SPDX-License-Identifier: Apache-2.0
// mpmm.dll comes late and goes early: loaded by a program with threads, and unloaded while threads that used it live on.
#include <atomic>
#include <cstring>
#include <gtest/gtest.h>
#include <thread>
#include <vector>
#include <windows.h>

namespace {

class WindowsDll : public ::testing::TestWithParam<const char*> {
  protected:
    template <class Function>
    Function* function(const char* name) {
        return reinterpret_cast<Function*>(reinterpret_cast<void*>(::GetProcAddress(library_, name)));
    }
    void load() {
        ASSERT_NE(library_ = ::LoadLibraryA(GetParam()), nullptr);
        ASSERT_NE(allocate = function<void*(std::size_t)>("mpmm_malloc"), nullptr);
        ASSERT_NE(free = function<void(void*, std::size_t)>("mpmm_free"), nullptr);
        ASSERT_NE(verify = function<std::size_t()>("mpmm_verify_heap"), nullptr);
    }
    void unload() {
        ASSERT_NE(::FreeLibrary(library_), 0);
        ASSERT_EQ(::GetModuleHandleA(GetParam()), nullptr) << "it is gone";
    }
    void use() {
        std::vector<void*> blocks;
        for (std::size_t size = 1; size < 5000; size += 7) {
            blocks.push_back(allocate(size));
            std::memset(blocks.back(), 1, size);
        }
        std::size_t size = 1;
        for (void* const block : blocks) {
            free(block, size);
            size += 7;
        }
    }

    HMODULE library_ = nullptr;
    void* (*allocate)(std::size_t) = nullptr;
    void (*free)(void*, std::size_t) = nullptr;
    std::size_t (*verify)() = nullptr;
};

TEST_P(WindowsDll, IsUsedByThreadsThatWereThereBefore) {
    std::atomic<int> step{0};
    std::thread before([&] {
        while (step.load() != 1) std::this_thread::yield();
        use();
        step = 2;
        while (step.load() != 3) std::this_thread::yield();
    });
    load();
    step = 1;
    while (step.load() != 2) std::this_thread::yield();
    use();
    EXPECT_EQ(verify(), 0u);
    step = 3;
    before.join();
    EXPECT_EQ(verify(), 0u);
    unload();
}

TEST_P(WindowsDll, ThreadsEndAfterItIsGone) {
    for (int round = 0; round < 5; ++round) {
        load();
        std::atomic<int> used{0};
        std::atomic<bool> gone{false};
        std::vector<std::thread> threads;
        for (int i = 0; i < 4; ++i)
            threads.emplace_back([&] {
                use();
                ++used;
                while (!gone.load()) std::this_thread::yield();
            });
        while (used.load() != 4) std::this_thread::yield();
        EXPECT_EQ(verify(), 0u);
        unload();
        gone = true;
        for (std::thread& thread : threads) thread.join();
    }
}

INSTANTIATE_TEST_SUITE_P(BothBuilds, WindowsDll, ::testing::Values("mpmm.dll", "mpmm_verify.dll"),
                         [](const auto& info) { return std::strchr(info.param, '_') == nullptr ? "release" : "verify"; });

}  // namespace
