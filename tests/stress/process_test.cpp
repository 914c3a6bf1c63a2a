// SPDX-License-Identifier: Apache-2.0
// Runs stress_child with the drop-in libraries: preloaded, and linked both ways.
#include "support/process.hpp"

#include <cstdlib>
#include <filesystem>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

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

class TemporaryDirectory {
  public:
    TemporaryDirectory() {
        if (::mkdtemp(path_.data()) == nullptr) path_.clear();
    }
    ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
    const std::string& path() const { return path_; }

  private:
    std::string path_ = "/tmp/mpmm_test_XXXXXX";
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
TEST_P(Process, LivesWithoutMadvise) { expect_good({"no_madvise"}); }
TEST_P(Process, LivesWithoutMremap) { expect_good({"no_mremap"}); }
TEST_P(Process, LivesWithoutMprotect) { expect_good({"no_mprotect"}); }
TEST_P(Process, LivesWithoutDescriptors) { expect_good({"no_descriptors"}); }
TEST_P(Process, LivesWithoutProc) {
    const TemporaryDirectory empty;
    expect_good({"no_proc", empty.path()});
}

/// A program with more rights than who starts it does not listen to him.
TEST(Privileged, IgnoresTheEnvironment) {
    if (::geteuid() != 0) GTEST_SKIP() << "not root";
    const TemporaryDirectory directory;
    ASSERT_EQ(::chmod(directory.path().c_str(), 0755), 0);
    for (const char* const name : {"stress_child_static", "stress_child_static_verify"}) {
        const std::string program = directory.path() + "/" + name;
        std::filesystem::copy_file(programs + name, program);
        for (const bool privileged : {false, true}) {
            ASSERT_EQ(::chmod(program.c_str(), privileged ? 04755 : 0755), 0);
            const Outcome outcome =
                run({"/usr/bin/setpriv", "--reuid=65534", "--clear-groups", program, "late"}, {{"MPMM_OPTIONS", "help=1"}});
            EXPECT_TRUE(outcome.exited_with(0)) << outcome.text();
            EXPECT_EQ(outcome.err.empty(), privileged) << outcome.text();
        }
    }
}
TEST_P(Process, CreatesTenThousandThreads) { expect_good({"threads"}); }

}  // namespace
}  // namespace mpmm::test
