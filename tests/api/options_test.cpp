// SPDX-License-Identifier: Apache-2.0
// Start-up and settings. They belong to the process, so each test sets them in a forked child, whose stderr and exit status tell.
#include "api/api_support.hpp"
#include "api/child.hpp"

#include <cerrno>
#include <cstdlib>

namespace mpmm::test {
namespace {

using ::testing::AllOf;
using ::testing::ExitedWithCode;
using ::testing::HasSubstr;
using ::testing::KilledBySignal;

constexpr const char* double_free_line =
    verify_build ? "^==[0-9]+==ERROR: mpmm: double-free on address 0x[0-9a-f]+\n$" : "^ERROR: mpmm: double-free on address 0x[0-9a-f]+\n$";

void free_twice() {
    void* const block = mpmm_malloc(100);
    mpmm_free(block, 100);
    mpmm_free(block, 100);
}

/// mpmm_options with the sizes filled in.
mpmm_options options_with(const char* settings, const mpmm_backend* backend = nullptr) { return {sizeof(mpmm_options), backend, settings}; }

TEST(Options, TheDefaultIsToReportAndAbort) { EXPECT_EXIT(free_twice(), KilledBySignal(SIGABRT), double_free_line); }

TEST(Options, ExitcodeReplacesAbort) {
    EXPECT_EXIT(
        {
            CHILD_CHECK(mpmm_set_option("exitcode", "3") == 0);
            free_twice();
        },
        ExitedWithCode(3), double_free_line);
}

TEST(Options, TheEnvironmentIsReadAtTheFirstAllocation) {
    EXPECT_EXIT(
        {
            ::setenv("MPMM_OPTIONS", "exitcode=7", 1);
            free_twice();
        },
        ExitedWithCode(7), double_free_line);
}

TEST(Options, TheEnvironmentCountsBeforeTheFirstAllocationToo) {
    EXPECT_EXIT(
        {
            ::setenv("MPMM_OPTIONS", "exitcode=8", 1);
            int local = 0;
            mpmm_free_unsized(&local);
        },
        ExitedWithCode(8), "ERROR: mpmm: invalid-free on address 0x[0-9a-f]+\n$");
}

TEST(Options, ReportsCanBeSurvived) {
    EXPECT_EXIT(
        {
            CHILD_CHECK(mpmm_set_option("halt_on_error", "0") == 0);
            free_twice();
            void* const first = mpmm_malloc(100);
            void* const second = mpmm_malloc(100);
            CHILD_CHECK(first != second);
            mpmm_free(first, 100);
            mpmm_free(second, 100);
            CHILD_CHECK(mpmm_verify_heap() == 0);
            child_done();
        },
        ExitedWithCode(0), double_free_line);
}

TEST(Options, InitAppliesItsSettingsAfterTheEnvironment) {
    EXPECT_EXIT(
        {
            ::setenv("MPMM_OPTIONS", "exitcode=7", 1);
            const mpmm_options options = options_with("exitcode=9:purge_delay_ms=5");
            CHILD_CHECK(mpmm_init(&options) == 0);
            free_twice();
        },
        ExitedWithCode(9), double_free_line);
}

TEST(Options, BadSettingsAreNamedAndChangeNothing) {
    EXPECT_EXIT(
        {
            const mpmm_options options = options_with("exitcode=9:nonsense=1:purge=maybe");
            CHILD_CHECK(mpmm_init(&options) == EINVAL);
            free_twice();
        },
        KilledBySignal(SIGABRT), AllOf(HasSubstr("'nonsense'"), HasSubstr("'purge'"), HasSubstr("double-free")));
    EXPECT_EXIT(
        {
            ::setenv("MPMM_OPTIONS", "exitcode=9:exitcode=256", 1);
            free_twice();
        },
        KilledBySignal(SIGABRT), AllOf(HasSubstr("'exitcode'"), HasSubstr("double-free")));
    EXPECT_EXIT(
        {
            CHILD_CHECK(mpmm_set_option("", "1") == EINVAL);
            CHILD_CHECK(mpmm_set_option("exitcode", "") == EINVAL);
            CHILD_CHECK(mpmm_set_option("exitcode", "-1") == EINVAL);
            CHILD_CHECK(mpmm_set_option("exitcode=3", "1") == EINVAL);
            CHILD_CHECK(mpmm_set_option("purge_delay_ms", "18446744073709551616") == EINVAL);
            free_twice();
        },
        KilledBySignal(SIGABRT), "double-free");
}

TEST(Options, NumbersMayHaveUnits) {
    EXPECT_EXIT(
        {
            CHILD_CHECK(mpmm_set_option("purge_delay_ms", "3k") == 0);
            CHILD_CHECK(mpmm_set_option("purge_delay_ms", "1g") == EINVAL);  // beyond a day
            child_done();
        },
        ExitedWithCode(0), "'purge_delay_ms'");
}

TEST(Options, HelpListsEveryKeyWithItsDefault) {
    EXPECT_EXIT(
        {
            ::setenv("MPMM_OPTIONS", "help=1", 1);
            mpmm_init(nullptr);
            child_done();
        },
        ExitedWithCode(0),
        AllOf(HasSubstr("halt_on_error=1  "), HasSubstr("exitcode=0  "), HasSubstr("check_interval=0  "),
              HasSubstr("purge_delay_ms=1000  "), HasSubstr("purge=1  "), HasSubstr("help=0  ")));
}

TEST(Options, InitTakesNothingAndChecksTheRest) {
    EXPECT_EXIT(
        {
            CHILD_CHECK(mpmm_init(nullptr) == 0);
            mpmm_options options = options_with(nullptr);
            CHILD_CHECK(mpmm_init(&options) == 0);
            options.struct_size = sizeof options - 1;
            CHILD_CHECK(mpmm_init(&options) == EINVAL);
            // A backend that cannot allocate or deallocate, or comes from another version.
            mpmm_backend backend{};
            CHILD_CHECK(mpmm_backend_fixed_region(&backend, arena_memory(), arena_size) == 0);
            const mpmm_backend good = backend;
            options = options_with("exitcode=5", &backend);
            backend.allocate = nullptr;
            CHILD_CHECK(mpmm_init(&options) == EINVAL);
            backend = good;
            backend.deallocate = nullptr;
            CHILD_CHECK(mpmm_init(&options) == EINVAL);
            backend = good;
            backend.struct_size = 8;
            CHILD_CHECK(mpmm_init(&options) == EINVAL);
            // None of the refused calls changed anything: memory is still the system's, and an error still aborts.
            void* const block = mpmm_malloc(100);
            CHILD_CHECK(!in_arena(block));
            backend = good;
            CHILD_CHECK(mpmm_init(&options) == EBUSY);
            options.backend = nullptr;
            options.settings = nullptr;
            CHILD_CHECK(mpmm_init(&options) == 0);
            mpmm_free(block, 100);
            mpmm_free(block, 100);
        },
        KilledBySignal(SIGABRT), double_free_line);
}

TEST(Options, ABackendIsRefusedTogetherWithItsBadSettings) {
    EXPECT_EXIT(
        {
            mpmm_backend backend{};
            CHILD_CHECK(mpmm_backend_fixed_region(&backend, arena_memory(), arena_size) == 0);
            const mpmm_options options = options_with("no_such_key=1", &backend);
            CHILD_CHECK(mpmm_init(&options) == EINVAL);
            void* const block = mpmm_malloc(100);
            CHILD_CHECK(block != nullptr && !in_arena(block));
            child_done();
        },
        ExitedWithCode(0), "'no_such_key'");
}

TEST(Options, CheckIntervalChecksTheHeapAsItGoes) {
    EXPECT_EXIT(
        {
            CHILD_CHECK(mpmm_set_option("check_interval", "1") == 0);
            std::size_t size = 1;
            for (int i = 0; i < 300; ++i, size = size * 5 / 4 % 300000 + 1) mpmm_free(mpmm_malloc(size), size);
            CHILD_CHECK(mpmm_verify_heap() == 0);
            child_done();
        },
        ExitedWithCode(0), "^$");
}

}  // namespace
}  // namespace mpmm::test
