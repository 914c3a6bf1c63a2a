// SPDX-License-Identifier: Apache-2.0
// Every misuse of misuse_child, in every build of the library: the process stops and names the error and the address, release in one line,
// verify in a report that tells of the block too.
#include "support/process.hpp"

#include <csignal>
#include <gtest/gtest.h>
#include <regex>

namespace mpmm::test {
namespace {

constexpr bool wide = sizeof(void*) == 8;

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

/// What is known of the address that was freed.
enum class Where {
    block,    ///< it begins a block
    inside,   ///< it lies in a block
    known,    ///< it is `address`
    unknown,  ///< the program found it
};

struct Misuse {
    const char* name;
    std::vector<std::size_t> sizes;
    const char* kind;
    Where where = Where::block;
    std::uintptr_t address = 0;
    const char* verify_kind = nullptr;  ///< where it is another one

    const char* kind_in(const Build& build) const { return build.verify && verify_kind != nullptr ? verify_kind : kind; }
    friend void PrintTo(const Misuse& misuse, std::ostream* out) { *out << misuse.name; }
};

constexpr const char *twice = "double-free", *invalid = "invalid-free", *either = "(double|invalid)-free";

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
    {"after_trim", {tiny, small, page, medium}, either, Where::unknown},
    {"interior", {24, small, 1000, page, medium, half_chunk, large, huge}, invalid, Where::inside},
    {"misaligned", {tiny, small, page, medium, large, huge}, invalid, Where::inside},
    {"last_byte", {tiny, small, page, medium, large, huge}, invalid, Where::inside},
    {"middle_page", {medium, half_chunk, large, huge}, invalid, Where::inside},
    {"interior_in_other_thread", {tiny, small, page, medium, large}, invalid, Where::inside},
    {"interior_via_realloc", {tiny, small, page, medium, large}, invalid, Where::inside},
    {"stack", {0}, invalid, Where::unknown},
    {"stack_via_realloc", {0}, invalid, Where::unknown},
    {"global", {0}, invalid, Where::unknown},
    {"never_mapped", {0}, invalid, Where::known, 0x10000},
    {"far_away", {0}, invalid, Where::known, (std::uintptr_t{1} << (wide ? 47 : 31)) - 4096},
    {"not_canonical", {0}, invalid, Where::known, std::uintptr_t{1} << (wide ? 55 : 29)},
    {"kernel_half", {0}, invalid, Where::known, (UINTPTR_MAX / 2 + 1) + 4096},
    {"all_ones", {0}, invalid, Where::known, UINTPTR_MAX},
    {"own_mapping", {0}, invalid, Where::unknown},
    {"intrusive_header", {0}, invalid, Where::unknown},
    {"past_the_last_block", {0}, invalid, Where::unknown},
    {"unused_slot", {0}, invalid, Where::unknown},
    // A block that is free is free, whether anybody had it before or not; verify knows that nobody had.
    {"never_handed_out", {0}, twice, Where::unknown, 0, invalid},
};

Outcome commit(const Build& build, const char* name, std::size_t size, const std::string& options = "") {
    std::map<std::string, std::string> environment;
    if (!build.preload.empty()) environment["LD_PRELOAD"] = build.preload;
    if (!options.empty()) environment["MPMM_OPTIONS"] = options;
    return run({programs + build.program, name, std::to_string(size)}, environment, 30);
}

/// The lines that name an error.
std::vector<std::string> errors_in(const std::vector<std::string>& lines) {
    std::vector<std::string> found;
    for (const std::string& line : lines)
        if (line.find("ERROR: mpmm: ") != std::string::npos) found.push_back(line);
    return found;
}

/// The line's number, searched from `from` on; lines.size() when there is none.
std::size_t find_line(const std::vector<std::string>& lines, const std::string& pattern, std::size_t from = 0) {
    const std::regex regex(pattern);
    while (from < lines.size() && !std::regex_match(lines[from], regex)) ++from;
    return from;
}

/// A stack follows the line: frames that count from 0, the first with an address.
::testing::AssertionResult stack_after(const std::vector<std::string>& lines, std::size_t at, const std::string& what) {
    if (at >= lines.size()) return ::testing::AssertionFailure() << "no section " << what;
    if (find_line(lines, "    #0 0x[0-9a-f]+( .*)?", at + 1) != at + 1)
        return ::testing::AssertionFailure() << "no stack after: " << lines[at];
    return ::testing::AssertionSuccess();
}

/// The sections of the block: what it is, where it was freed when it was, and where it was allocated, each with a stack.
::testing::AssertionResult tells_of_the_block(const std::vector<std::string>& lines, const std::string& address, bool freed, bool at_start,
                                              std::size_t size) {
    const std::string offset = at_start ? "0 bytes inside of " : "[0-9]+ bytes inside of ";
    const std::string begin = at_start ? address : std::string("0x[0-9a-f]+");
    const std::string region = std::to_string(size) + "-byte region \\[" + begin + ",0x[0-9a-f]+\\)(, guarded)?";
    if (const std::size_t at = find_line(lines, address + " is located " + offset + region); at >= lines.size())
        return ::testing::AssertionFailure() << "no line that says where " << address << " is in its block of " << size;
    const std::size_t freed_at = find_line(lines, "freed by thread T[0-9]+( \\(.*\\))? here:");
    const char* const allocated =
        freed ? "previously allocated by thread T[0-9]+( \\(.*\\))? here:" : "allocated by thread T[0-9]+( \\(.*\\))? here:";
    const std::size_t allocated_at = find_line(lines, allocated);
    if (freed != (freed_at < lines.size())) return ::testing::AssertionFailure() << "the section that says where it was freed";
    if (freed)
        if (const auto result = stack_after(lines, freed_at, "freed by"); !result) return result;
    return stack_after(lines, allocated_at, "allocated by");
}

/// Exactly one error, of this kind, at this place; nothing else in release, and the whole report in verify. `size` is the block's.
::testing::AssertionResult one_error(const Outcome& outcome, const Build& build, const std::string& kind, Where where, std::size_t size,
                                     std::uintptr_t known = 0) {
    const std::vector<std::string> lines = outcome.error_lines(), errors = errors_in(lines);
    if (errors.size() != 1) return ::testing::AssertionFailure() << errors.size() << " errors";
    std::smatch match;
    const std::string told = "(" + kind + ") on address (0x[0-9a-f]+)";
    const std::regex line(build.verify ? "==[0-9]+==ERROR: mpmm: " + told + " \\(pc 0x[0-9a-f]+ thread T[0-9]+\\)"
                                       : "ERROR: mpmm: " + told);
    if (!std::regex_match(errors[0], match, line)) return ::testing::AssertionFailure() << "another line: " << errors[0];
    const std::string address = match[match.size() - 1];
    const bool is_double = match[1] == twice;
    if (where == Where::known && std::stoull(address, nullptr, 16) != known) return ::testing::AssertionFailure() << "another address";
    if (!build.verify) return lines.size() == 1 ? ::testing::AssertionSuccess() : ::testing::AssertionFailure() << lines.size() << " lines";
    if (lines.size() < 4 || lines[0].empty() || lines[0].find_first_not_of('=') != std::string::npos || lines[1] != errors[0])
        return ::testing::AssertionFailure() << "the report does not begin with a rule and the error";
    if (find_line(lines, "    #0 0x[0-9a-f]+( .*)?") >= lines.size()) return ::testing::AssertionFailure() << "no stack";
    if (lines.back().rfind(std::string("SUMMARY: mpmm: ") + std::string(match[1]), 0) != 0)
        return ::testing::AssertionFailure() << "no summary at the end";
    if (where != Where::block && where != Where::inside) return ::testing::AssertionSuccess();
    return tells_of_the_block(lines, address, is_double, where == Where::block, size);
}

class MisuseTest : public ::testing::TestWithParam<std::tuple<Build, Misuse>> {};
std::string test_name(const Build& build, const Misuse& misuse) {
    return std::string(build.name) + '_' + misuse.name + (misuse.kind == either ? "_of_blocks" : "");
}
INSTANTIATE_TEST_SUITE_P(All, MisuseTest, ::testing::Combine(::testing::ValuesIn(builds), ::testing::ValuesIn(misuses)),
                         [](const auto& info) { return test_name(std::get<0>(info.param), std::get<1>(info.param)); });

TEST_P(MisuseTest, StopsWithOneError) {
    const auto& [build, misuse] = GetParam();
    for (const std::size_t size : misuse.sizes) {
        const Outcome outcome = commit(build, misuse.name, size);
        EXPECT_TRUE(outcome.killed_by(SIGABRT)) << size << ": " << outcome.text();
        EXPECT_TRUE(one_error(outcome, build, misuse.kind_in(build), misuse.where, size, misuse.address)) << size << ": " << outcome.text();
        EXPECT_EQ(outcome.out, "") << size;
    }
}

/// Not in the table: what the second free meant is gone when it arrives, so only a look at the moment of that free can tell.
class MisuseThatOvertakes : public ::testing::TestWithParam<Build> {
  protected:
    static void expect_double_free(const char* name, std::size_t size) {
        const Outcome outcome = commit(GetParam(), name, size);
        EXPECT_TRUE(outcome.killed_by(SIGABRT)) << size << ": " << outcome.text();
        EXPECT_TRUE(one_error(outcome, GetParam(), twice, Where::block, size)) << size << ": " << outcome.text();
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
        EXPECT_EQ(errors_in(outcome.error_lines()).size(), 1u) << outcome.text();
    }
}

TEST_P(MisuseOptions, SurvivesWhenTold) {
    for (const Misuse& misuse : misuses)
        for (const std::size_t size : misuse.sizes) {
            const Outcome outcome = commit(GetParam(), misuse.name, size, "halt_on_error=0");
            EXPECT_TRUE(outcome.exited_with(0)) << misuse.name << ' ' << size << outcome.text();
            EXPECT_EQ(outcome.out, "survived\n") << misuse.name << ' ' << size << outcome.text();
            EXPECT_TRUE(one_error(outcome, GetParam(), misuse.kind_in(GetParam()), misuse.where, size, misuse.address))
                << misuse.name << ' ' << size << outcome.text();
        }
}

}  // namespace
}  // namespace mpmm::test
