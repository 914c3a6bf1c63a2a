// SPDX-License-Identifier: Apache-2.0
// The judgement over reports, against written ones: it accepts the form that is promised, and misses nothing that is wrong.
#include "detect/expect.hpp"
#include "detect/report.hpp"

#include <csignal>
#include <gtest/gtest.h>

namespace mpmm::detect {
namespace {

const Case twice{Error::double_free, 24, Making::malloc, Relation::same, Found::at_once};
const std::string twice_report =
    "==42==ERROR: mpmm: double-free on address 0x7f0000001000 (pc 0x401000 thread T0)\n"
    "the block was freed before\n"
    "    #0 0x401000 in free (/lib/libmpmm_malloc_verify.so+0x1000)\n"
    "    #1 0x401010 in misuse_the_block misuse.cpp:60\n"
    "    #2 0x401020 (/bin/buggy+0x20)\n"
    "    #3 0x401030 in main buggy.cpp:140:5\n"
    "0x7f0000001000 is located 0 bytes inside of 24-byte region [0x7f0000001000,0x7f0000001018)\n"
    "freed by thread T0 (buggy) here:\n"
    "    #0 0x401000 in free_the_block blocks.cpp:120\n"
    "previously allocated by thread T0 (buggy) here:\n"
    "    #0 0x401000 in allocate_the_block blocks.cpp:110\n"
    "block allocator 0x7f00: 64 blocks\n"
    "SUMMARY: mpmm: double-free misuse.cpp:60 in misuse_the_block\n";

const Case list{Error::leak_list, 1000, Making::malloc, Relation::same, Found::at_exit};
const std::string list_report =
    "==42==ERROR: mpmm: leak on address 0x7f0000001000 (pc 0x401000 thread T0)\n"
    "Direct leak of 1000 byte(s) in 1 object(s) allocated from:\n"
    "    #0 0x401000 in allocate_the_block blocks.cpp:110\n"
    "\n"
    "Indirect leak of 4000 byte(s) in 4 object(s) allocated from:\n"
    "    #0 0x401000 in allocate_the_block blocks.cpp:110\n"
    "SUMMARY: mpmm: 5000 byte(s) leaked in 5 allocation(s).\n";

std::vector<std::string> judge_twice(const std::string& report) {
    return complaints(twice, {"pid 42\nblock 0x7f0000001000 size 24\naddress 0x7f0000001000\n", report, SIGABRT});
}
std::vector<std::string> judge_list(const std::string& report, int status = 23 << 8) {
    return complaints(list, {"pid 42\nblock 0x7f0000001000 size 1000\nsurvived\n", report, status});
}

std::string replaced(std::string text, const std::string& old, const std::string& by) {
    const std::size_t at = text.find(old);
    EXPECT_NE(at, std::string::npos) << old;
    return at == std::string::npos ? text : text.replace(at, old.size(), by);
}

TEST(Judgement, AcceptsWhatIsPromised) {
    EXPECT_EQ(judge_twice(twice_report), std::vector<std::string>());
    EXPECT_EQ(judge_list(list_report), std::vector<std::string>());
}

TEST(Judgement, MissesNothingInAReport) {
    const struct {
        const char *old, *by;
    } changes[] = {
        {"==42==", "==43=="},
        {"double-free on", "invalid-free on"},
        {"address 0x7f0000001000", "address 0x7f0000001001"},
        {"thread T0)", "thread T1)"},
        {"the block was freed before\n", ""},
        {"misuse_the_block misuse", "other misuse"},
        {"#1", "#2"},
        {"in main", "in other"},
        {"0 bytes inside", "1 bytes inside"},
        {"inside of", "after"},
        {"24-byte", "32-byte"},
        {"[0x7f0000001000", "[0x7f0000000ff0"},
        {"001018)", "001020)"},
        {"freed by thread T0", "freed by thread T1"},
        {"freed by thread T0 (buggy) here:\n", ""},
        {"free_the_block", "other"},
        {"previously ", ""},
        {"allocated by thread T0", "allocated by thread T7"},
        {"allocate_the_block", "other"},
        {"SUMMARY: mpmm: double-free", "SUMMARY: mpmm: leak"},
        {"SUMMARY", "Summary"},
        {"==42==ERROR", "==42==ERROR: mpmm: \n==42==ERROR"},
    };
    for (const auto& [old, by] : changes)
        EXPECT_NE(judge_twice(replaced(twice_report, old, by)), std::vector<std::string>()) << old << " -> " << by;
    EXPECT_NE(judge_twice(""), std::vector<std::string>());
    EXPECT_NE(judge_twice(twice_report + twice_report), std::vector<std::string>());
}

TEST(Judgement, MissesNothingInLeaks) {
    const struct {
        const char *old, *by;
    } changes[] = {
        {"1000 byte(s)", "1008 byte(s)"}, {"in 1 object", "in 2 object"},   {"Indirect leak", "Direct leak"},
        {"allocate_the_block", "other"},  {"5000 byte(s)", "5001 byte(s)"}, {"5 allocation", "4 allocation"},
    };
    for (const auto& [old, by] : changes)
        EXPECT_NE(judge_list(replaced(list_report, old, by)), std::vector<std::string>()) << old << " -> " << by;
    EXPECT_NE(judge_list(list_report, SIGABRT), std::vector<std::string>());
    EXPECT_NE(judge_list(list_report, 0), std::vector<std::string>());
}

TEST(Judgement, WantsTheProgramToGetThere) {
    EXPECT_NE(complaints(twice, {"", twice_report, SIGABRT}), std::vector<std::string>());
    EXPECT_NE(complaints(twice, {"pid 42\nblock 0x7f0000001000 size 24\n", twice_report, SIGABRT}), std::vector<std::string>());
    EXPECT_NE(complaints(twice, {"pid 42\nblock 0x7f0000001000 size 24\naddress 0x7f0000001000\nsurvived\n", twice_report, SIGABRT}),
              std::vector<std::string>());
}

}  // namespace
}  // namespace mpmm::detect
