// SPDX-License-Identifier: Apache-2.0
// Runs stress_child with the drop-in libraries: preloaded, and linked both ways.
#include "support/process.hpp"

#include <gtest/gtest.h>

namespace mpmm::test {
namespace {

const std::string libraries = MPMM_LIBRARY_DIR "/", programs = MPMM_PROGRAM_DIR "/";

struct Way {
    const char* name;
    std::string program, preload;
    friend void PrintTo(const Way& way, std::ostream* out) { *out << way.name; }
};
const Way ways[] = {
    {"preloaded_release", "stress_child", "libmpmm_malloc.so"},
    {"preloaded_verify", "stress_child", "libmpmm_malloc_verify.so"},
    {"shared_release", "stress_child_shared", ""},
    {"static_release", "stress_child_static", ""},
    {"static_verify", "stress_child_static_verify", ""},
};

class Process : public ::testing::TestWithParam<Way> {
  protected:
    static void expect_good(std::vector<std::string> arguments) {
        std::map<std::string, std::string> environment;
        if (!GetParam().preload.empty()) environment["LD_PRELOAD"] = libraries + GetParam().preload;
        arguments.insert(arguments.begin(), programs + GetParam().program);
        const Outcome outcome = run(arguments, environment);
        EXPECT_TRUE(outcome.exited_with(0)) << outcome.text();
        EXPECT_EQ(outcome.out, "good\n");
        EXPECT_EQ(outcome.err, "");
    }
};
INSTANTIATE_TEST_SUITE_P(Ways, Process, ::testing::ValuesIn(ways), [](const auto& info) { return info.param.name; });

TEST_P(Process, ForksWithThreads) { expect_good({"fork"}); }
TEST_P(Process, AllocatesAndFreesLate) { expect_good({"late"}); }
TEST_P(Process, LivesWithLittleAddressSpace) { expect_good({"limit"}); }
TEST_P(Process, OpensLibraries) { expect_good({"dlopen", MPMM_PLUGIN}); }
TEST_P(Process, CreatesTenThousandThreads) { expect_good({"threads"}); }

}  // namespace
}  // namespace mpmm::test
