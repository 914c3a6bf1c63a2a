// SPDX-License-Identifier: Apache-2.0
// Drives the programs that exercise the drop-in libraries: preloaded, linked shared, linked static, in both modes; in C and in C++.
#include "support/process.hpp"

#include <csignal>
#include <gtest/gtest.h>

namespace mpmm::test {
namespace {

// The paths of the build tree come from CMake.
const std::string libraries = MPMM_LIBRARY_DIR "/", programs = MPMM_PROGRAM_DIR "/";

struct Mode {
    const char* name;
    std::string library;
    friend void PrintTo(const Mode& mode, std::ostream* out) { *out << mode.name; }
};
const Mode modes[] = {{"release", "libmpmm_malloc.so"}, {"verify", "libmpmm_malloc_verify.so"}};

class DropIn : public ::testing::TestWithParam<Mode> {
  protected:
    /// stderr holds what malloc_stats() prints and nothing else.
    static void expect_good(const Outcome& outcome) {
        EXPECT_TRUE(outcome.exited_with(0)) << outcome.text();
        EXPECT_EQ(outcome.out, "all checks passed\n") << outcome.text();
        for (const std::string& line : outcome.error_lines()) EXPECT_EQ(line.rfind("mpmm: ", 0), 0u) << outcome.text();
        EXPECT_NE(outcome.err.find("mpmm: used "), std::string::npos) << outcome.text();
    }
    static std::map<std::string, std::string> preload() { return {{"LD_PRELOAD", libraries + GetParam().library}}; }
};
INSTANTIATE_TEST_SUITE_P(Modes, DropIn, ::testing::ValuesIn(modes), [](const auto& info) { return std::string(info.param.name); });

TEST_P(DropIn, PreloadedIntoCxx) { expect_good(run({programs + "abi_child", GetParam().library}, preload())); }
TEST_P(DropIn, PreloadedIntoC) { expect_good(run({programs + "c_child", GetParam().library}, preload())); }
TEST_P(DropIn, LinkedShared) {
    const std::string program = std::string("abi_child_") + GetParam().name;
    expect_good(run({programs + program, GetParam().library}));
}
TEST_P(DropIn, LinkedStatic) {
    const std::string program = std::string("abi_child_static_") + GetParam().name;
    expect_good(run({programs + program, program}));
}
TEST_P(DropIn, LinkedStaticIntoC) {
    const std::string program = std::string("c_child_static_") + GetParam().name;
    expect_good(run({programs + program, program}));
}

TEST_P(DropIn, NewWithoutARuntimeStopsWithALine) {
    const Outcome outcome = run({programs + "c_child", "new"}, preload());
    EXPECT_TRUE(outcome.killed_by(SIGABRT)) << outcome.text();
    ASSERT_EQ(outcome.error_lines().size(), 1u) << outcome.text();
    EXPECT_NE(outcome.err.find("ERROR: mpmm: operator new: out of memory ("), std::string::npos) << outcome.text();
}

TEST_P(DropIn, NeedsNoCxxRuntime) {
    const Outcome outcome = run({MPMM_READELF, "-dW", libraries + GetParam().library});
    ASSERT_TRUE(outcome.exited_with(0)) << outcome.text();
    std::size_t needed = 0;
    for (std::size_t at = 0; (at = outcome.out.find("(NEEDED)", at)) != std::string::npos; ++at) ++needed;
    EXPECT_GE(needed, 1u) << outcome.text();
    for (const char* const runtime : {"libstdc++", "libc++", "libgcc_s", "libsupc++"})
        EXPECT_EQ(outcome.out.find(runtime), std::string::npos) << outcome.text();
    EXPECT_EQ(outcome.out.find("TEXTREL"), std::string::npos) << outcome.text();
}

/// Without the library the same program says so: the checks can fail.
TEST(DropInChecks, NoticeTheCLibrarysMalloc) {
    const Outcome outcome = run({programs + "abi_child", "libmpmm_malloc"});
    EXPECT_TRUE(outcome.exited_with(1)) << outcome.text();
    EXPECT_NE(outcome.err.find("malloc comes from"), std::string::npos) << outcome.text();
}

}  // namespace
}  // namespace mpmm::test
