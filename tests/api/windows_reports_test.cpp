// SPDX-License-Identifier: Apache-2.0
// The verify build's reports on Windows: what a program sees when it breaks its heap.
#include "api/api_support.hpp"

#include <cstdlib>
#include <thread>

namespace mpmm::test {
namespace {

class WindowsReports : public ::testing::Test {
  protected:
    void SetUp() override { ASSERT_EQ(mpmm_set_option("guard_sample_rate", "1"), 0); }
    void TearDown() override { mpmm_set_option("guard_sample_rate", "0"); }
};

[[gnu::noinline]] int read(const volatile char* address) { return *address; }

TEST_F(WindowsReports, GuardedBlocksTellAtOnce) {
    auto* const block = static_cast<char*>(mpmm_malloc(64));
    EXPECT_DEATH(read(block + 64), "ERROR: mpmm: heap-buffer-overflow on address .*");
    EXPECT_DEATH(block[4095] = 1, "ERROR: mpmm: heap-buffer-overflow on address .*");
    mpmm_free(block, 64);
    EXPECT_DEATH(read(block), "ERROR: mpmm: heap-use-after-free on address .*");
    EXPECT_DEATH(block[1] = 1, "WRITE at ");
}

TEST_F(WindowsReports, BothStacksAreShownByModuleAndOffset) {
    ASSERT_EQ(mpmm_set_option("guard_sample_rate", "0"), 0);
    EXPECT_DEATH(
        {
            void* const block = mpmm_malloc(100);
            mpmm_free(block, 100);
            mpmm_free(block, 100);
        },
        "#1 0x.*api_test_verify.exe\\+0x");
    EXPECT_DEATH(
        {
            auto* const block = static_cast<char*>(mpmm_malloc(100));
            block[100] = 1;
            mpmm_free(block, 100);
        },
        "heap-buffer-overflow");
}

void* volatile kept = nullptr;
volatile std::uintptr_t lost = 0;  // complemented, so that it leads nowhere

TEST_F(WindowsReports, LeaksAreFoundAndWhatIsReachableIsNone) {
    ASSERT_EQ(mpmm_set_option("guard_sample_rate", "0"), 0);
    ASSERT_EQ(mpmm_set_option("halt_on_error", "0"), 0);
    // On a stack that is gone when it is looked for.
    std::thread([] {
        kept = mpmm_malloc(1000);
        lost = ~reinterpret_cast<std::uintptr_t>(mpmm_malloc(3000));
    }).join();
    EXPECT_EQ(mpmm_leak_check(), 1u);
    mpmm_free(kept, 1000);
    mpmm_free(reinterpret_cast<void*>(~lost), 3000);
    ASSERT_EQ(mpmm_set_option("halt_on_error", "1"), 0);
}

}  // namespace
}  // namespace mpmm::test
