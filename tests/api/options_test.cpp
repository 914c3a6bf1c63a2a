// SPDX-License-Identifier: Apache-2.0
// Start-up and settings. They belong to the process, so each test sets them in a forked child, whose stderr and exit status tell. Verify
// reads the environment when the program is loaded: the tests of MPMM_OPTIONS start the program anew.
#include "api/api_support.hpp"
#include "api/child.hpp"
#include "support/emulator.hpp"

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>

namespace mpmm::test {
namespace {

using ::testing::AllOf;
using ::testing::ExitedWithCode;
using ::testing::HasSubstr;
using ::testing::KilledBySignal;

/// stderr holds one error and nothing else: a line in release, in verify a report that is told once.
::testing::Matcher<const std::string&> one_error(const std::string& kind) {
    if (!verify_build) return ::testing::ContainsRegex("^ERROR: mpmm: " + kind + " on address 0x[0-9a-f]+\n" + death_note + "$");
    const std::string rule = "^=+\n";
    return AllOf(
        ::testing::ContainsRegex(rule + "==[0-9]+==ERROR: mpmm: " + kind + " on address 0x[0-9a-f]+ \\(pc 0x[0-9a-f]+ thread T0\\)\n"),
        Not(::testing::ContainsRegex("ERROR: mpmm: .*ERROR: mpmm: ")),
        ::testing::ContainsRegex("\nSUMMARY: mpmm: " + kind + "[^\n]*\n" + death_note + "$"));
}
const auto double_free_line = one_error("double-free");

void free_twice() {
    void* const block = mpmm_malloc(100);
    mpmm_free(block, 100);
    mpmm_free(block, 100);
}

/// MPMM_OPTIONS, for the programs of a test that are started anew.
class Environment {
  public:
    explicit Environment(const char* settings) {
        if (const char* const before = std::getenv("MPMM_OPTIONS"); before != nullptr) before_ = before;
        ::setenv("MPMM_OPTIONS", settings, 1);
        ::testing::GTEST_FLAG(death_test_style) = "threadsafe";
    }
    ~Environment() {
        ::testing::GTEST_FLAG(death_test_style) = "fast";
        if (before_) ::setenv("MPMM_OPTIONS", before_->c_str(), 1);
        else ::unsetenv("MPMM_OPTIONS");
    }
    Environment(const Environment&) = delete;
    Environment& operator=(const Environment&) = delete;

  private:
    std::optional<std::string> before_;
};

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

TEST(Options, TheEnvironmentIsRead) {
    const Environment environment("exitcode=7");
    EXPECT_EXIT(free_twice(), ExitedWithCode(7), double_free_line);
}

TEST(Options, TheEnvironmentCountsBeforeTheFirstAllocationToo) {
    const Environment environment("exitcode=8");
    EXPECT_EXIT(
        {
            int local = 0;
            mpmm_free_unsized(&local);
        },
        ExitedWithCode(8), one_error("invalid-free"));
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
    const Environment environment("exitcode=7");
    EXPECT_EXIT(
        {
            const mpmm_options options = options_with("exitcode=9:decay_ms=5");
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
    {
        const Environment environment("exitcode=9:exitcode=256");
        EXPECT_EXIT(free_twice(), KilledBySignal(SIGABRT), AllOf(HasSubstr("'exitcode'"), HasSubstr("double-free")));
    }
    EXPECT_EXIT(
        {
            CHILD_CHECK(mpmm_set_option("", "1") == EINVAL);
            CHILD_CHECK(mpmm_set_option("exitcode", "") == EINVAL);
            CHILD_CHECK(mpmm_set_option("exitcode", "-1") == EINVAL);
            CHILD_CHECK(mpmm_set_option("exitcode=3", "1") == EINVAL);
            CHILD_CHECK(mpmm_set_option("decay_ms", "18446744073709551616") == EINVAL);
            free_twice();
        },
        KilledBySignal(SIGABRT), "double-free");
}

TEST(Options, NumbersMayHaveUnits) {
    EXPECT_EXIT(
        {
            CHILD_CHECK(mpmm_set_option("decay_ms", "3k") == 0);
            CHILD_CHECK(mpmm_set_option("decay_ms", "1g") == EINVAL);  // beyond a day
            child_done();
        },
        ExitedWithCode(0), "'decay_ms'");
}

TEST(Options, HelpListsEveryKeyWithItsDefault) {
    const Environment environment("help=1");
    // In the order of the tables, and nothing else.
    std::string table = "^";
    for (const char* const row : {"halt_on_error=1",
                                  "exitcode=0",
                                  "quarantine_bytes=16777216",
                                  "redzone_bytes=16",
                                  "guard_sample_rate=1000",
                                  "guard_align=16",
                                  "detect_leaks=0",
                                  "check_interval=0",
                                  "stack_depth=16",
                                  "full_unwind=0",
                                  "trace_ops=0",
                                  "seed=1",
                                  "decay_ms=1000",
                                  "cache_limit=18446744073709551615",
                                  "thp=0",
                                  "purge=1",
                                  "help=0",
                                  "report_format=text",
                                  "log_path=",
                                  "symbolizer=",
                                  "suppressions="})
        table += std::string(row) + "  [^\n]+\n";
    EXPECT_EXIT(
        {
            mpmm_init(nullptr);
            child_done();
        },
        ExitedWithCode(0), ::testing::ContainsRegex(table + "$"));
}

/// Whether the kernel was asked for huge pages behind the address.
[[maybe_unused]] bool wants_huge_pages(const void* address) {
    std::ifstream maps("/proc/self/smaps");
    const auto wanted = reinterpret_cast<std::uintptr_t>(address);
    bool inside = false;
    for (std::string line; std::getline(maps, line);) {
        std::uintptr_t from = 0, to = 0;
        if (std::sscanf(line.c_str(), "%zx-%zx ", &from, &to) == 2) inside = from <= wanted && wanted < to;
        if (inside && line.starts_with("VmFlags:")) return line.find(" hg") != std::string::npos;
    }
    return false;
}

TEST(Options, HugePagesAreAskedForOnDemand) {
    if (!std::ifstream("/sys/kernel/mm/transparent_hugepage/enabled")) GTEST_SKIP() << "this kernel has no huge pages to ask for";
    for (const bool wanted : {false, true}) {
        const Environment environment(wanted ? "thp=1" : "thp=0");
        EXPECT_EXIT(
            {
                for (const std::size_t size : {std::size_t{100}, std::size_t{8} << 20, std::size_t{100} << 20})
                    CHILD_CHECK(wants_huge_pages(mpmm_malloc(size)) == wanted);
                child_done();
            },
            ExitedWithCode(0), "");
    }
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

TEST(Options, TextsAreTakenOrRefused) {
    EXPECT_EXIT(
        {
            CHILD_CHECK(mpmm_set_option("report_format", "xml") == EINVAL);
            CHILD_CHECK(mpmm_set_option("report_format", "") == EINVAL);
            CHILD_CHECK(mpmm_set_option("report_format", "json|text") == EINVAL);
            CHILD_CHECK(mpmm_set_option("report_format", "jso") == EINVAL);
            CHILD_CHECK(mpmm_set_option("report_format", "text") == 0);
            CHILD_CHECK(mpmm_set_option("symbolizer", "0") == 0);
            CHILD_CHECK(mpmm_set_option("symbolizer", "") == 0);
            CHILD_CHECK(mpmm_set_option("suppressions", "main+std::*") == 0);
            const std::string endless(10000, 'x');
            CHILD_CHECK(mpmm_set_option("suppressions", endless.c_str()) == EINVAL);
            const mpmm_options options = options_with("exitcode=5:report_format=xml");
            CHILD_CHECK(mpmm_init(&options) == EINVAL);
            free_twice();
        },
        KilledBySignal(SIGABRT), AllOf(HasSubstr("bad value for 'report_format'"), HasSubstr("bad value for 'suppressions'")));
}

TEST(Options, ReportsMayBeOneJsonObjectALine) {
    const Environment environment("report_format=json:halt_on_error=0:exitcode=4");
    const char* const json = "^[{][^\n]*\"double-free\"[^\n]*[}]\n[{][^\n]*\"invalid-free\"[^\n]*[}]\n$";
    const char* const lines = "^ERROR: mpmm: double-free on address 0x[0-9a-f]+\nERROR: mpmm: invalid-free on address 0x[0-9a-f]+\n$";
    EXPECT_EXIT(
        {
            free_twice();
            int local = 0;
            mpmm_free_unsized(&local);
            child_done();
        },
        ExitedWithCode(0), ::testing::ContainsRegex(verify_build ? json : lines));
}

/// The file grows by each report, and stderr stays empty.
TEST(Options, ReportsGoToALog) {
    const std::string path = ::testing::TempDir() + "mpmm-options-log-" + std::to_string(::getpid());
    ::unlink(path.c_str());
    for (const char* const kind : {"double-free", "invalid-free"})
        EXPECT_EXIT(
            {
                CHILD_CHECK(mpmm_set_option("log_path", path.c_str()) == 0);
                CHILD_CHECK(mpmm_set_option("exitcode", "6") == 0);
                if (kind[0] == 'd') free_twice();
                mpmm_free_unsized(&errno);
            },
            ExitedWithCode(6), "^$");
    std::ifstream file(path);
    std::stringstream text;
    text << file.rdbuf();
    EXPECT_THAT(text.str(), ::testing::ContainsRegex("ERROR: mpmm: double-free on address 0x"));
    EXPECT_THAT(text.str(), ::testing::ContainsRegex("ERROR: mpmm: invalid-free on address 0x"));
    ::unlink(path.c_str());
}

/// A report must not be lost because its file cannot be written.
TEST(Options, ALogThatCannotBeOpenedIsStderr) {
    EXPECT_EXIT(
        {
            CHILD_CHECK(mpmm_set_option("log_path", "/nowhere/at/all") == 0);
            free_twice();
        },
        KilledBySignal(SIGABRT), double_free_line);
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
