// SPDX-License-Identifier: Apache-2.0
// What each of verify's settings changes in a report, and in what comes after it.
#include "detect/report.hpp"
#include "support/process.hpp"

#include <algorithm>
#include <bit>
#include <csignal>
#include <filesystem>
#include <gtest/gtest.h>
#include <regex>
#include <sstream>
#include <sys/stat.h>
#include <unistd.h>

namespace mpmm::detect {
namespace {

const std::string programs = MPMM_PROGRAM_DIR "/", preload = MPMM_LIBRARY_DIR "/libmpmm_malloc_verify.so";

test::Outcome settings(const std::string& name, const std::string& options) {
    return test::run({programs + "settings", name}, {{"LD_PRELOAD", preload}, {"MPMM_OPTIONS", options}}, 60);
}

/// The one report of a program.
Report only(const test::Outcome& outcome) {
    const std::vector<Report> reports = parse_reports(outcome.err);
    EXPECT_EQ(reports.size(), 1u) << outcome.text();
    return reports.size() == 1 ? reports[0] : Report{};
}

std::vector<std::string> functions(const Stack& stack) {
    std::vector<std::string> result;
    for (const Frame& frame : stack) result.push_back(frame.function);
    return result;
}

TEST(Settings, StackDepthLimitsWhatIsStored) {
    EXPECT_GE(only(settings("twice", "")).freed->stack.size(), 8u);
    const Report shallow = only(settings("twice", "stack_depth=2"));
    ASSERT_TRUE(shallow.freed && shallow.allocated);
    EXPECT_EQ(functions(shallow.freed->stack), (std::vector<std::string>{"free_the_block", shallow.freed->stack.back().function}));
    EXPECT_GE(shallow.current.size(), 2u) << "where the error is found is not stored";
    const Report none = only(settings("twice", "stack_depth=0"));
    ASSERT_TRUE(none.freed && none.allocated);
    EXPECT_TRUE(none.freed->stack.empty() && none.allocated->stack.empty());
}

TEST(Settings, FullUnwindingShowsTheSame) {
    const Report fast = only(settings("twice", "")), full = only(settings("twice", "full_unwind=1"));
    ASSERT_TRUE(fast.freed && fast.allocated && full.freed && full.allocated);
    EXPECT_EQ(functions(full.freed->stack), functions(fast.freed->stack));
    EXPECT_EQ(functions(full.allocated->stack), functions(fast.allocated->stack));
    EXPECT_TRUE(shows(full.freed->stack, "free_the_block") && shows(full.freed->stack, "main"));
}

TEST(Settings, NoSymbolizerLeavesNamesOfTheSymbolTables) {
    const Report report = only(settings("twice", "symbolizer=0"));
    ASSERT_TRUE(report.freed && report.allocated);
    EXPECT_EQ(report.freed->stack.front().place.front(), '(');
    EXPECT_EQ(report.freed->stack.front().function, "free_the_block");
}

TEST(Settings, LongRedzonesCatchFarOverflows) {
    const test::Outcome near = settings("far_overflow", "guard_sample_rate=0");
    EXPECT_TRUE(near.exited_with(0)) << near.text();
    const Report far = only(settings("far_overflow", "guard_sample_rate=0:redzone_bytes=2048"));
    EXPECT_EQ(far.kind, "heap-buffer-overflow");
    ASSERT_TRUE(far.location);
    EXPECT_EQ(far.location->distance, 1000u);
}

TEST(Settings, ChecksFindDamageAtTheNextOperation) {
    const Report report = only(settings("overflow_and_go_on", "guard_sample_rate=0:check_interval=1"));
    EXPECT_EQ(report.kind, "heap-buffer-overflow");
    EXPECT_TRUE(shows(report.current, "allocate_the_block"));
}

TEST(Settings, ReportsShowTheBitsAroundTheBlock) {
    const test::Outcome outcome = settings("twice", "guard_sample_rate=0");
    std::smatch found;
    // In a program of one thread nothing comes back from others, and of the first blocks of a size most are free; this one is not yet.
    ASSERT_TRUE(std::regex_search(outcome.err, found, std::regex("=>word [0-9]+: free 0x([0-9a-f]+) remote 0x0  bit ([0-9]+)\n")))
        << outcome.text();
    const std::uint64_t free_map = std::stoull(found[1], nullptr, 16);
    EXPECT_GT(std::popcount(free_map), 16) << outcome.text();
    EXPECT_EQ(free_map >> std::stoul(found[2]) & 1, 0u) << outcome.text();
}

TEST(Settings, ReportsBracketTheChangedBytesAndNothingElse) {
    const test::Outcome outcome = settings("overflow_and_go_on", "guard_sample_rate=0:halt_on_error=0");
    const std::regex line("(=>|  )0x[0-9a-f]+:((?:[ \\[\\]](?:[0-9a-f]{2}|  )){16}\\]?)\n");
    std::size_t lines = 0, with_brackets = 0;
    for (std::sregex_iterator found(outcome.err.begin(), outcome.err.end(), line), end; found != end; ++found, ++lines) {
        const std::string bytes = (*found)[2];
        const auto brackets = std::count(bytes.begin(), bytes.end(), '[');
        EXPECT_EQ(brackets, std::count(bytes.begin(), bytes.end(), ']')) << outcome.text();
        EXPECT_EQ(brackets, (*found)[1] == "=>" ? 1 : 0) << outcome.text();
        with_brackets += brackets != 0;
    }
    EXPECT_GT(lines, with_brackets) << outcome.text();
    EXPECT_GE(with_brackets, 1u) << outcome.text();
}

TEST(Settings, GuardAlignOneMakesEveryEndExact) {
    const test::Outcome aligned = settings("odd_overread", "guard_sample_rate=1");
    EXPECT_TRUE(aligned.exited_with(0)) << aligned.text();
    const Report exact = only(settings("odd_overread", "guard_sample_rate=1:guard_align=1"));
    EXPECT_EQ(exact.kind, "heap-buffer-overflow");
    ASSERT_TRUE(exact.location);
    EXPECT_EQ(exact.location->distance, 0u);
}

TEST(Settings, TraceShowsTheLastOperations) {
    const test::Outcome outcome = settings("twice", "trace_ops=4");
    const Report report = only(outcome);
    std::smatch found;
    ASSERT_TRUE(std::regex_search(outcome.err, found, std::regex(R"(Last ([1-4]) operations, oldest first[^\n]*\n((?:  [^\n]*\n)+))")))
        << outcome.text();
    const std::string lines = found[2];
    EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), std::stol(found[1]));
    std::ostringstream block;
    block << "0x" << std::hex << report.address;
    EXPECT_TRUE(std::regex_search(lines, std::regex(" T0 allocate 40 = " + block.str() + "\n  [0-9]+ T0 free " + block.str() + "\n$")))
        << lines;
}

TEST(Settings, SuppressionsLeaveLeaksOut) {
    EXPECT_EQ(only(settings("lost", "detect_leaks=1")).kind, "leak");
    for (const char* const pattern : {"allocate_the_block", "nothing+alloc*block", "++allocate_**", "main+x"}) {
        const test::Outcome outcome = settings("lost", std::string("detect_leaks=1:suppressions=") + pattern);
        EXPECT_TRUE(outcome.exited_with(0)) << outcome.text();
        EXPECT_EQ(outcome.err, "") << pattern;
    }
    EXPECT_EQ(only(settings("lost", "detect_leaks=1:suppressions=allocate_the")).kind, "leak");
}

TEST(Settings, ReportsOfSeveralThreadsFollowEachOther) {
    const test::Outcome outcome = settings("many_at_once", "halt_on_error=0:symbolizer=0");
    EXPECT_TRUE(outcome.exited_with(0)) << outcome.text();
    const std::vector<Report> reports = parse_reports(outcome.err);
    ASSERT_EQ(reports.size(), 40u);
    for (const Report& report : reports) {
        EXPECT_EQ(report.kind, "double-free");
        EXPECT_NE(report.summary, "");
        ASSERT_TRUE(report.freed && report.allocated && report.location);
        EXPECT_EQ(report.freed->thread, report.thread);
    }
}

/// After every kind of error the program goes on to its end.
TEST(Settings, ErrorsCanBeSurvived) {
    for (const char* const name :
         {"double_free-1000-malloc-same", "free_interior-1000-malloc-same", "free_stack-1000-malloc-same",
          "sized_larger-1000-operator_new-same", "wrong_delete-1000-malloc-same", "overflow_byte-1000-malloc-same-at_free",
          "underflow_byte-1000-malloc-same-at_free", "stale_middle-1000-malloc-same-at_exit", "stale_middle-3145728-malloc-same-at_exit"}) {
        const test::Outcome outcome =
            test::run({programs + "buggy", name}, {{"LD_PRELOAD", preload}, {"MPMM_OPTIONS", "halt_on_error=0:quarantine_bytes=256m"}}, 60);
        EXPECT_TRUE(outcome.exited_with(0)) << name << outcome.text();
        EXPECT_NE(outcome.out.find("survived\n"), std::string::npos) << name << outcome.text();
        only(outcome);
    }
    for (const char* const name : {"guard_overread-1008-malloc-same", "guard_overwrite-1008-malloc-same",
                                   "guard_read_freed-1008-malloc-same", "guard_write_freed-32-malloc-same"}) {
        const test::Outcome outcome =
            test::run({programs + "buggy", name}, {{"LD_PRELOAD", preload}, {"MPMM_OPTIONS", "halt_on_error=0:guard_sample_rate=1"}}, 60);
        EXPECT_TRUE(outcome.exited_with(0)) << name << outcome.text();
        only(outcome);
    }
}

TEST(Settings, ExitcodeReplacesTheSignal) {
    EXPECT_TRUE(settings("twice", "exitcode=7").exited_with(7));
    EXPECT_TRUE(settings("lost", "detect_leaks=1:exitcode=9").exited_with(9));
    EXPECT_TRUE(settings("lost", "detect_leaks=1").exited_with(23));
}

/// A process with more rights than who started it takes no settings from him.
TEST(Settings, SetuidProgramsIgnoreTheEnvironment) {
    if (::geteuid() != 0) GTEST_SKIP() << "only root makes setuid programs";
    namespace fs = std::filesystem;
    const fs::path directory = fs::temp_directory_path() / ("mpmm-setuid-" + std::to_string(::getpid())), program = directory / "program";
    fs::create_directory(directory);
    fs::permissions(directory, fs::perms(0755));
    fs::copy_file(programs + "buggy_api", program);
    ASSERT_EQ(::chmod(program.c_str(), 04755), 0);
    const std::string help = "help=1";
    const test::Outcome same_rights = test::run({program, "--list"}, {{"MPMM_OPTIONS", help}}, 30);
    const test::Outcome more_rights = test::run({"/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program, "--list"},
                                                {{"MPMM_OPTIONS", help}}, 30);
    fs::remove_all(directory);
    EXPECT_NE(same_rights.err.find("halt_on_error=1  "), std::string::npos) << same_rights.text();
    EXPECT_TRUE(more_rights.exited_with(0)) << more_rights.text();
    EXPECT_EQ(more_rights.err, "");
    EXPECT_EQ(more_rights.out, same_rights.out);
}

}  // namespace
}  // namespace mpmm::detect
