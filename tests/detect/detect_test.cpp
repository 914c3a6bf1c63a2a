// SPDX-License-Identifier: Apache-2.0
// Every case of the buggy programs gives exactly one report, of the right kind, about the right block, with the stacks that led there; no
// clean program gives any.
#include "detect/expect.hpp"
#include "detect/table.hpp"

#include "support/emulator.hpp"
#include "support/process.hpp"

#include <algorithm>
#include <gtest/gtest.h>
#include <regex>
#include <sstream>

namespace mpmm::detect {

void PrintTo(const Case& test, std::ostream* out) { *out << name_of(test); }

namespace {

const std::string programs = MPMM_PROGRAM_DIR "/";
const std::string preload = MPMM_LIBRARY_DIR "/libmpmm_malloc_verify.so";

std::string identifier(std::string name) {
    std::replace_if(name.begin(), name.end(), [](unsigned char letter) { return std::isalnum(letter) == 0; }, '_');
    return name;
}

std::vector<Case> cases_of(const std::string& kind) {
    std::vector<Case> result = all_cases();
    std::erase_if(result, [&](const Case& test) { return kind_of(test.error) != kind; });
    return result;
}

std::string problems(const Case& test, const test::Outcome& outcome) {
    std::string all;
    for (const std::string& complaint : complaints(test, outcome)) all += "not as wanted: " + complaint + '\n';
    return all;
}

class Detect : public ::testing::TestWithParam<Case> {};
TEST_P(Detect, ReportsTheError) {
    const test::Outcome outcome =
        test::run({programs + "buggy", name_of(GetParam())}, {{"LD_PRELOAD", preload}, {"MPMM_OPTIONS", options_of(GetParam())}}, 60);
    EXPECT_EQ(problems(GetParam(), outcome), "") << outcome.text();
}

const auto name_of_case = [](const auto& info) { return identifier(name_of(info.param)); };
INSTANTIATE_TEST_SUITE_P(DoubleFree, Detect, ::testing::ValuesIn(cases_of("double-free")), name_of_case);
INSTANTIATE_TEST_SUITE_P(InvalidFree, Detect, ::testing::ValuesIn(cases_of("invalid-free")), name_of_case);
INSTANTIATE_TEST_SUITE_P(SizeMismatch, Detect, ::testing::ValuesIn(cases_of("size-mismatch")), name_of_case);
INSTANTIATE_TEST_SUITE_P(Mismatch, Detect, ::testing::ValuesIn(cases_of("alloc-dealloc-mismatch")), name_of_case);
INSTANTIATE_TEST_SUITE_P(Overflow, Detect, ::testing::ValuesIn(cases_of("heap-buffer-overflow")), name_of_case);
INSTANTIATE_TEST_SUITE_P(Underflow, Detect, ::testing::ValuesIn(cases_of("heap-buffer-underflow")), name_of_case);
INSTANTIATE_TEST_SUITE_P(UseAfterFree, Detect, ::testing::ValuesIn(cases_of("heap-use-after-free")), name_of_case);
INSTANTIATE_TEST_SUITE_P(Leak, Detect, ::testing::ValuesIn(cases_of("leak")), name_of_case);

class DetectApi : public ::testing::TestWithParam<Case> {};
TEST_P(DetectApi, ReportsTheError) {
    const test::Outcome outcome = test::run({programs + "buggy_api", name_of(GetParam())}, {{"MPMM_OPTIONS", options_of(GetParam())}}, 60);
    EXPECT_EQ(problems(GetParam(), outcome), "") << outcome.text();
}
INSTANTIATE_TEST_SUITE_P(Sized, DetectApi, ::testing::ValuesIn(api_cases()), name_of_case);

/// The table has every error, kind and way at least once: a case that falls out of it would not be missed otherwise.
TEST(Table, HoldsEverything) {
    std::vector<std::string> names;
    for (const Case& test : all_cases()) names.push_back(name_of(test));
    EXPECT_GE(names.size(), 200u);
    for (const char* const error : error_names)
        EXPECT_TRUE(std::any_of(names.begin(), names.end(), [&](const auto& name) { return name.rfind(std::string(error) + '-', 0) == 0; }))
            << error;
    std::string listed;
    for (const std::string& name : names) listed += name + '\n';
    EXPECT_EQ(test::run({programs + "buggy", "--list"}).out, listed);
}

/// A clean program and case. The programs list their own.
struct Clean {
    std::string program, name;
    friend void PrintTo(const Clean& clean, std::ostream* out) { *out << clean.program << ' ' << clean.name; }
};
std::vector<Clean> clean_cases() {
    std::vector<Clean> result;
    for (const char* const program : {"clean_cxx", "clean_c"}) {
        const test::Outcome list = test::run({programs + program, "--list"});
        std::istringstream stream(list.out);
        for (std::string name; std::getline(stream, name);) result.push_back({program, name});
    }
    return result;
}

class DetectNothing : public ::testing::TestWithParam<Clean> {
  protected:
    static constexpr const char* unstopped = "mpmm: leak check: other threads could not be stopped[^\n]*\n";
    static void expect_clean(const std::string& options, const std::regex& notes = std::regex("")) {
        const test::Outcome outcome =
            test::run({programs + GetParam().program, GetParam().name}, {{"LD_PRELOAD", preload}, {"MPMM_OPTIONS", options}}, 120);
        EXPECT_TRUE(outcome.exited_with(0)) << options << outcome.text();
        EXPECT_EQ(outcome.out, "done\n") << options;
        // An emulator's own thread cannot be stopped, and verify says so.
        const std::string err = *test::emulator == '\0' ? outcome.err : std::regex_replace(outcome.err, std::regex(unstopped), "");
        EXPECT_TRUE(std::regex_match(err, notes)) << options << ": " << err;
    }
};
INSTANTIATE_TEST_SUITE_P(Clean, DetectNothing, ::testing::ValuesIn(clean_cases()),
                         [](const auto& info) { return identifier(info.param.program + '_' + info.param.name); });
TEST_P(DetectNothing, WithLeakDetection) { expect_clean("detect_leaks=1"); }
TEST_P(DetectNothing, WithChecks) { expect_clean("detect_leaks=1:check_interval=1000:quarantine_bytes=1m"); }
/// Where mappings run out, a note says so.
TEST_P(DetectNothing, WithGuards) {
    expect_clean("detect_leaks=1:guard_sample_rate=1",
                 std::regex("(mpmm: guarded blocks: (half of vm.max_map_count is used|the system refuses more mappings).*\n)?"));
}

}  // namespace
}  // namespace mpmm::detect
