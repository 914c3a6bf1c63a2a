// SPDX-License-Identifier: Apache-2.0
// Every misuse of misuse_child, in every build of the library: the process stops with one line that names the error and the address.
#include "support/process.hpp"

#include <csignal>
#include <gtest/gtest.h>
#include <regex>

namespace mpmm::test {
namespace {

const std::string programs = MPMM_PROGRAM_DIR "/";

/// How the program gets the allocator.
struct Build {
    const char* name;
    std::string program;
    std::string preload;
    bool verify;
    friend void PrintTo(const Build& build, std::ostream* out) { *out << build.name; }
};
const Build builds[] = {
    {"release_api", "misuse_child_api", "", false},
    {"verify_api", "misuse_child_api_verify", "", true},
#ifdef MPMM_LIBRARY_DIR
    {"release", "misuse_child", MPMM_LIBRARY_DIR "/libmpmm_malloc.so", false},
    {"verify", "misuse_child", MPMM_LIBRARY_DIR "/libmpmm_malloc_verify.so", true},
#endif
};

constexpr std::size_t tiny = 8, small = 100, page = 5000, medium = 60000, half_chunk = 1 << 20, large = 3 << 20, huge = 100 << 20;

struct Misuse {
    const char* name;
    std::vector<std::size_t> sizes;
    const char* kind;
    friend void PrintTo(const Misuse& misuse, std::ostream* out) { *out << misuse.name; }
};

constexpr const char *twice = "double-free", *invalid = "invalid-free";

const Misuse misuses[] = {
    {"at_once", {tiny, 24, small, 1000, page, medium, half_chunk, large, huge}, twice},
    {"with_neighbours", {tiny, small, page, medium, half_chunk, large, huge}, twice},
    {"after_many_frees", {tiny, small, page, medium, half_chunk}, twice},
    {"from_full", {tiny, small, page, medium}, twice},
    {"via_realloc", {tiny, small, page, medium, large, huge}, twice},
    {"after_realloc_moved", {tiny, small, page, medium}, twice},
    {"second_in_other_thread", {tiny, small, page, medium, large, huge}, twice},
    {"first_in_other_thread", {tiny, small, page, medium, large, huge}, twice},
    {"both_in_other_thread", {tiny, small, page, medium, large, huge}, twice},
    {"both_in_other_thread_flushed", {tiny, small, page, medium, large}, twice},
    {"in_two_other_threads", {tiny, small, page, medium, large}, twice},
    {"first_waits_in_a_buffer", {tiny, small, page, medium}, twice},
    {"both_wait_in_buffers", {tiny, small, page, medium}, twice},
    {"between_free_and_drain", {tiny, small, page, medium}, twice},
    {"owner_is_dead", {tiny, small, page, medium}, twice},
    {"owner_dies_between", {tiny, small, page, medium}, twice},
    {"owner_is_dead_and_adopted", {tiny, small, page, medium}, twice},
    {"slot_is_gone", {small}, twice},
    {"after_purge", {tiny, small, page, medium, large}, twice},
    {"after_trim", {large, huge}, twice},
    // Where the chunk has gone back to the system there is nothing left to tell a second free from a wild one.
    {"after_trim", {tiny, small, page, medium}, "(double|invalid)-free"},
    {"interior", {24, small, 1000, page, medium, half_chunk, large, huge}, invalid},
    {"misaligned", {tiny, small, page, medium, large, huge}, invalid},
    {"last_byte", {tiny, small, page, medium, large, huge}, invalid},
    {"middle_page", {medium, half_chunk, large, huge}, invalid},
    {"interior_in_other_thread", {tiny, small, page, medium, large}, invalid},
    {"interior_via_realloc", {tiny, small, page, medium, large}, invalid},
    {"stack", {0}, invalid},
    {"stack_via_realloc", {0}, invalid},
    {"global", {0}, invalid},
    {"never_mapped", {0}, invalid},
    {"far_away", {0}, invalid},
    {"not_canonical", {0}, invalid},
    {"kernel_half", {0}, invalid},
    {"all_ones", {0}, invalid},
    {"own_mapping", {0}, invalid},
    {"intrusive_header", {0}, invalid},
    {"past_the_last_block", {0}, invalid},
    {"unused_slot", {0}, invalid},
    // A block that is free is free, whether anybody had it before or not.
    {"never_handed_out", {0}, twice},
};

Outcome commit(const Build& build, const char* name, std::size_t size, const std::string& options = "") {
    std::map<std::string, std::string> environment;
    if (!build.preload.empty()) environment["LD_PRELOAD"] = build.preload;
    if (!options.empty()) environment["MPMM_OPTIONS"] = options;
    return run({programs + build.program, name, std::to_string(size)}, environment, 30);
}

std::regex line_of(const Build& build, const std::string& kind) {
    return std::regex((build.verify ? "==[0-9]+==ERROR: mpmm: " : "ERROR: mpmm: ") + kind + " on address 0x[0-9a-f]+.*");
}
bool one_line(const Outcome& outcome, const Build& build, const std::string& kind) {
    const std::vector<std::string> lines = outcome.error_lines();
    return lines.size() == 1 && std::regex_match(lines[0], line_of(build, kind));
}

class MisuseTest : public ::testing::TestWithParam<std::tuple<Build, Misuse>> {};
std::string test_name(const Build& build, const Misuse& misuse) {
    return std::string(build.name) + '_' + misuse.name + (misuse.kind[0] == '(' ? "_of_blocks" : "");
}
INSTANTIATE_TEST_SUITE_P(All, MisuseTest, ::testing::Combine(::testing::ValuesIn(builds), ::testing::ValuesIn(misuses)),
                         [](const auto& info) { return test_name(std::get<0>(info.param), std::get<1>(info.param)); });

TEST_P(MisuseTest, StopsWithOneLine) {
    const auto& [build, misuse] = GetParam();
    for (const std::size_t size : misuse.sizes) {
        const Outcome outcome = commit(build, misuse.name, size);
        EXPECT_TRUE(outcome.killed_by(SIGABRT)) << size << ": " << outcome.text();
        EXPECT_TRUE(one_line(outcome, build, misuse.kind)) << size << ": " << outcome.text();
        EXPECT_EQ(outcome.out, "") << size;
    }
}

/// Not in the table: what the second free meant is gone when it arrives, so only a look at the moment of that free can tell.
class MisuseThatOvertakes : public ::testing::TestWithParam<Build> {
  protected:
    static void expect_double_free(const char* name, std::size_t size) {
        const Outcome outcome = commit(GetParam(), name, size);
        EXPECT_TRUE(outcome.killed_by(SIGABRT)) << size << ": " << outcome.text();
        EXPECT_TRUE(one_line(outcome, GetParam(), twice)) << size << ": " << outcome.text();
    }
};
INSTANTIATE_TEST_SUITE_P(All, MisuseThatOvertakes, ::testing::ValuesIn(builds), [](const auto& info) { return info.param.name; });

/// The block is somebody else's again.
TEST_P(MisuseThatOvertakes, StopsWhenTheBlockIsHandedOutAgain) {
    for (const std::size_t size : {tiny, small}) expect_double_free("handed_out_again_before_the_drain", size);
}
/// The slot with the block allocator's header has gone back to the system.
TEST_P(MisuseThatOvertakes, StopsWhenTheHeaderIsGone) { expect_double_free("slot_is_gone", tiny); }

class MisuseOptions : public ::testing::TestWithParam<Build> {};
INSTANTIATE_TEST_SUITE_P(All, MisuseOptions, ::testing::ValuesIn(builds), [](const auto& info) { return info.param.name; });

TEST_P(MisuseOptions, CleanProgramsPrintNothing) {
    for (const std::size_t size : {tiny, small, page, medium}) {
        const Outcome outcome = commit(GetParam(), "clean", size);
        EXPECT_TRUE(outcome.exited_with(0)) << outcome.text();
        EXPECT_EQ(outcome.out, "survived\n");
        EXPECT_EQ(outcome.err, "");
    }
}

TEST_P(MisuseOptions, ExitcodeReplacesAbort) {
    for (const char* const name : {"at_once", "stack", "first_in_other_thread"}) {
        const Outcome outcome = commit(GetParam(), name, small, "exitcode=3");
        EXPECT_TRUE(outcome.exited_with(3)) << name << outcome.text();
        EXPECT_EQ(outcome.error_lines().size(), 1u) << outcome.text();
    }
}

TEST_P(MisuseOptions, SurvivesWhenTold) {
    for (const Misuse& misuse : misuses)
        for (const std::size_t size : misuse.sizes) {
            const Outcome outcome = commit(GetParam(), misuse.name, size, "halt_on_error=0");
            EXPECT_TRUE(outcome.exited_with(0)) << misuse.name << ' ' << size << outcome.text();
            EXPECT_EQ(outcome.out, "survived\n") << misuse.name << ' ' << size << outcome.text();
            EXPECT_TRUE(one_line(outcome, GetParam(), misuse.kind)) << misuse.name << ' ' << size << outcome.text();
        }
}

}  // namespace
}  // namespace mpmm::test
