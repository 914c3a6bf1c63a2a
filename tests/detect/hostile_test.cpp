// SPDX-License-Identifier: Apache-2.0
// Errors where a report is hard to give: it is given all the same, whole and on the right descriptor, and the program ends as it would.
#include "detect/report.hpp"

#include "support/process.hpp"

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <gtest/gtest.h>
#include <unistd.h>

namespace mpmm::detect {
namespace {

const std::string preload = MPMM_LIBRARY_DIR "/libmpmm_malloc_verify.so";

test::Outcome hostile(const std::string& name, const std::string& options) {
    return test::run({MPMM_PROGRAM_DIR "/hostile", name}, {{"LD_PRELOAD", preload}, {"MPMM_OPTIONS", options}}, 30);
}

std::vector<std::string> kinds(const test::Outcome& outcome) {
    std::vector<std::string> result;
    for (const Report& report : parse_reports(outcome.err)) result.push_back(report.kind);
    return result;
}
using Kinds = std::vector<std::string>;

void expect_done(const test::Outcome& outcome) {
    EXPECT_TRUE(outcome.exited_with(0)) << outcome.text();
    EXPECT_EQ(outcome.out, "done\n") << outcome.text();
}

TEST(Hostile, CancelledThreadFinishesItsReport) {
    const test::Outcome outcome = hostile("report_in_cancelled_thread", "halt_on_error=0");
    expect_done(outcome);
    ASSERT_EQ(kinds(outcome), (Kinds{"double-free", "double-free"})) << outcome.text();
    for (const Report& report : parse_reports(outcome.err)) EXPECT_NE(report.summary, "") << outcome.text();
}

TEST(Hostile, CallOfFreedBlockIsToldOnce) {
    const test::Outcome outcome = hostile("call_of_freed_block", "halt_on_error=0:guard_sample_rate=1");
    EXPECT_TRUE(outcome.killed_by(SIGSEGV)) << outcome.text();
    EXPECT_EQ(outcome.out, "");
    ASSERT_EQ(kinds(outcome), (Kinds{"heap-use-after-free"})) << outcome.text();
    EXPECT_EQ(parse_reports(outcome.err)[0].explanation.rfind("CALL of ", 0), 0u) << outcome.text();
}

TEST(Hostile, ReportNeedsNoMoreThanSmallSignalStack) {
#ifdef MPMM_UNOPTIMISED
    GTEST_SKIP() << "without optimisation the library's frames are several times as large";
#endif
    const test::Outcome outcome = hostile("report_on_small_stack", "halt_on_error=0:guard_sample_rate=1");
    expect_done(outcome);
    EXPECT_EQ(kinds(outcome), (Kinds{"heap-buffer-overflow"})) << outcome.text();
}

TEST(Hostile, HandlerOfAbortUsesTheHeap) {
    const test::Outcome outcome = hostile("handler_allocates", "guard_sample_rate=0");
    expect_done(outcome);
    EXPECT_EQ(kinds(outcome), (Kinds{"heap-buffer-overflow"})) << outcome.text();
}

TEST(Hostile, ExitInHandlerDuringCheck) {
    const test::Outcome outcome = hostile("exit_during_check", "");
    EXPECT_TRUE(outcome.exited_with(7)) << outcome.text();
    EXPECT_EQ(outcome.err, "");
}

TEST(Hostile, ErrorsInHandlerThatInterruptsReports) {
    const test::Outcome outcome = hostile("reports_in_signal_handler", "halt_on_error=0:symbolizer=0");
    expect_done(outcome);
    const Kinds found = kinds(outcome);
    EXPECT_GT(std::count(found.begin(), found.end(), "invalid-free"), 0) << outcome.text();
    EXPECT_GT(std::count(found.begin(), found.end(), "double-free"), 0) << outcome.text();
}

TEST(Hostile, LeaksAreToldAfterStderrWasClosed) {
    const test::Outcome outcome = hostile("leak_with_closed_stderr", "detect_leaks=1");
    EXPECT_TRUE(outcome.exited_with(23)) << outcome.text();
    EXPECT_EQ(outcome.out, "done\n");
    EXPECT_NE(outcome.err.find("Direct leak of 100 byte(s) in 1 object(s)"), std::string::npos) << outcome.text();
}

TEST(Hostile, ErrorsAreToldAfterStderrWasClosed) {
    const test::Outcome outcome = hostile("error_with_closed_stderr", "halt_on_error=0");
    expect_done(outcome);
    EXPECT_EQ(kinds(outcome), (Kinds{"double-free"})) << outcome.text();
}

TEST(Hostile, TheBiggestOfManyLeaksAreToldFirst) {
    const test::Outcome outcome = hostile("leaks_at_many_places", "detect_leaks=1");
    EXPECT_TRUE(outcome.exited_with(23)) << outcome.text();
    // 1, 1, 2, 2 to 50, 50 blocks.
    EXPECT_NE(outcome.err.find("255000 byte(s) in 2550 block(s) that nothing points to; the biggest 64 of 100 groups"), std::string::npos)
        << outcome.text();
    const std::vector<Report> reports = parse_reports(outcome.err);
    ASSERT_EQ(reports.size(), 1u) << outcome.text();
    ASSERT_EQ(reports[0].leaks.size(), 64u);
    for (std::size_t i = 0; i < 64; ++i) EXPECT_EQ(reports[0].leaks[i].objects, 50 - i / 2);
    EXPECT_EQ(reports[0].summary, "255000 byte(s) leaked in 2550 allocation(s).");
}

TEST(Hostile, AProgramWhoseFileIsDeletedHasNames) {
    const std::string copy = ::testing::TempDir() + "deleted_program" + std::to_string(::getpid());
    std::filesystem::copy_file(MPMM_PROGRAM_DIR "/hostile", copy);
    const test::Outcome outcome = test::run({copy, "deleted_program"}, {{"LD_PRELOAD", preload}, {"MPMM_OPTIONS", "halt_on_error=0"}}, 30);
    std::filesystem::remove(copy);
    expect_done(outcome);
    EXPECT_NE(outcome.err.find("::free_twice()"), std::string::npos) << outcome.text();
    EXPECT_NE(outcome.err.find("hostile.cpp:"), std::string::npos) << outcome.text();
}

TEST(Hostile, AFaultOfTheProgramsOwnIsNotReported) {
    const test::Outcome outcome = hostile("program_closes_its_page", "guard_sample_rate=1:halt_on_error=0");
    EXPECT_TRUE(outcome.killed_by(SIGSEGV)) << outcome.text();
    EXPECT_EQ(outcome.out, "");
    EXPECT_EQ(outcome.err, "");
}

TEST(Hostile, WildFreesSayWhatLiesThere) {
    const test::Outcome outcome = hostile("frees_all_over", "halt_on_error=0:symbolizer=0");
    expect_done(outcome);
    EXPECT_EQ(kinds(outcome), Kinds(7, "invalid-free")) << outcome.text();
    for (const char* const place : {"on the stack of the main thread", "hostile, a global variable", "hostile, constant data",
                                    "hostile, code", "in memory that the program mapped", "in [vdso]"})
        EXPECT_NE(outcome.err.find(place), std::string::npos) << place << "\n" << outcome.text();
}

/// Empty where there is no static C library.
const std::string static_program = MPMM_STATIC_PROGRAM;

TEST(StaticProgram, Runs) {
    if (static_program.empty()) GTEST_SKIP() << "no static C library";
    const test::Outcome outcome = test::run({static_program}, {}, 30);
    expect_done(outcome);
    EXPECT_EQ(outcome.err, "");
}

TEST(StaticProgram, Reports) {
    if (static_program.empty()) GTEST_SKIP() << "no static C library";
    const test::Outcome outcome = test::run({static_program, "bad"}, {}, 30);
    EXPECT_TRUE(outcome.killed_by(SIGABRT)) << outcome.text();
    EXPECT_EQ(kinds(outcome), (Kinds{"double-free"})) << outcome.text();
}

}  // namespace
}  // namespace mpmm::detect
