// SPDX-License-Identifier: Apache-2.0
// Leaves out the tests that cannot work on this platform: those that the platform's page in docs/platforms names, one by one and each with
// its reason, in the rows of its table that begin with a test's name in backquotes. They count as skipped, and print the reason.
#include <algorithm>
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <string>

namespace mpmm::test {
namespace {

using Reasons = std::map<std::string, std::string>;

Reasons read_table(const char* path) {
    Reasons reasons;
    std::ifstream page(path);
    for (std::string row; std::getline(page, row);) {
        const std::size_t name_end = row.rfind("` | "), end = row.rfind(" |");
        if (row.rfind("| `", 0) != 0 || name_end == std::string::npos || end <= name_end) continue;
        reasons[row.substr(3, name_end - 3)] = row.substr(name_end + 4, end - name_end - 4);
    }
    return reasons;
}

class LeaveOut : public ::testing::EmptyTestEventListener {
  public:
    explicit LeaveOut(Reasons reasons) : reasons_(std::move(reasons)) {}
    void OnTestStart(const ::testing::TestInfo& test) override {
        // A test with parameters is Instantiation/Suite.Test/parameter: left out with one of them, with all, or as all of the suite's with one.
        std::string suite = test.test_suite_name(), name = test.name();
        suite.erase(0, suite.find('/') + 1);
        const std::size_t slash = std::min(name.find('/'), name.size());
        for (const std::string& key : {suite + '.' + name, suite + '.' + name.substr(0, slash), suite + name.substr(slash)})
            if (const auto found = reasons_.find(key); found != reasons_.end()) GTEST_SKIP() << found->second;
    }

  private:
    Reasons reasons_;
};

[[maybe_unused]] const bool added = [] {
    ::testing::UnitTest::GetInstance()->listeners().Append(new LeaveOut(read_table(MPMM_TESTS_LEFT_OUT)));
    return true;
}();

}  // namespace
}  // namespace mpmm::test
