// SPDX-License-Identifier: Apache-2.0
// A program whose operator new and delete are the library's, because it is linked with it.
#include "mpmm/mpmm.h"

#include <cstdint>
#include <gtest/gtest.h>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

namespace mpmm::test {
namespace {

struct alignas(256) Wide {
    char bytes[256];
};

bool is_ours(const void* block) { return mpmm_usable_size(block) != 0; }

TEST(WindowsNew, EveryFormIsReplaced) {
    const auto one = std::make_unique<int>(1);
    const auto array = std::make_unique<char[]>(5000);
    const auto wide = std::make_unique<Wide>();
    const auto wide_array = std::make_unique<Wide[]>(3);
    EXPECT_TRUE(is_ours(one.get()));
    EXPECT_TRUE(is_ours(array.get()));
    EXPECT_TRUE(is_ours(wide.get()));
    EXPECT_TRUE(is_ours(wide_array.get()));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(wide.get()) % 256, 0u);
    int* const quiet = new (std::nothrow) int(3);
    EXPECT_TRUE(is_ours(quiet));
    delete quiet;
    EXPECT_TRUE(is_ours(std::string(1000, 'x').data())) << "the C++ runtime in this program uses them too";
}

// The compiler must not know better what becomes of these.
volatile std::size_t impossible = SIZE_MAX / 4;

TEST(WindowsNew, FailureIsBadAllocOrNull) {
    EXPECT_THROW(static_cast<void>(::operator new(impossible)), std::bad_alloc);
    EXPECT_THROW(static_cast<void>(::operator new(impossible, std::align_val_t{64})), std::bad_alloc);
    EXPECT_EQ(::operator new(impossible, std::nothrow), nullptr);
    static int calls = 0;
    calls = 0;
    std::set_new_handler([] {
        if (++calls == 2) std::set_new_handler(nullptr);
    });
    EXPECT_EQ(::operator new(impossible, std::nothrow), nullptr);
    EXPECT_EQ(calls, 2);
}

TEST(WindowsNew, MisuseIsReported) {
    EXPECT_DEATH(
        {
            char* volatile block = new char[100];
            delete[] block;
            delete[] block;
        },
        "ERROR: mpmm: double-free on address");
    EXPECT_DEATH(
        {
            int local = 1;
            int* volatile foreign = &local;
            ::operator delete(foreign);
        },
        "ERROR: mpmm: invalid-free on address");
}

TEST(WindowsNew, ThreadsPassObjectsOn) {
    for (int round = 0; round < 50; ++round) {
        std::vector<std::string> made;
        std::thread([&] {
            for (int i = 0; i < 1000; ++i) made.emplace_back(static_cast<std::size_t>(i), 'x');
        }).join();
        for (std::size_t i = 0; i < made.size(); ++i) ASSERT_EQ(made[i], std::string(i, 'x'));
    }
    EXPECT_EQ(mpmm_verify_heap(), 0u);
}

}  // namespace
}  // namespace mpmm::test
