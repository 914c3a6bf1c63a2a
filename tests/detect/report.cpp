// SPDX-License-Identifier: Apache-2.0
#include "detect/report.hpp"

#include <algorithm>
#include <regex>
#include <sstream>
#include <utility>

namespace mpmm::detect {
namespace {

const std::regex first_line(R"(^==(\d+)==ERROR: mpmm: ([a-z-]+) on address 0x([0-9a-f]+) \(pc 0x[0-9a-f]+ thread T(\d+)\)$)");
const std::regex frame_line(R"(^    #(\d+) 0x[0-9a-f]+ (?:in (.+) )?(\S+:\d+(?::\d+)?|\S*/\S+|\(.+\+0x[0-9a-f]+\))$)");
const std::regex location_line(
    R"(^0x([0-9a-f]+) is located (\d+) bytes? (after|before|inside of) (\d+)-byte region \[0x([0-9a-f]+),0x([0-9a-f]+)\)$)");
const std::regex thread_line(R"(^(freed|allocated|previously allocated) by thread T(\d+)(?: \((.*)\))? here:$)");
const std::regex leak_line(R"(^(Direct|Indirect) leak of (\d+) byte\(s\) in (\d+) object\(s\) allocated from:$)");
const std::string summary_start = "SUMMARY: mpmm: ";

std::size_t number(const std::string& digits, int base = 10) { return static_cast<std::size_t>(std::stoull(digits, nullptr, base)); }

/// Reads line after line into the last report; `stack_` is where frames belong.
class Reader {
  public:
    void read(const std::string& line) {
        std::smatch found;
        if (std::regex_match(line, found, first_line)) {
            reports_.push_back({number(found[1]),
                                found[2],
                                number(found[3], 16),
                                static_cast<unsigned>(number(found[4])),
                                {},
                                {},
                                {},
                                {},
                                {},
                                {},
                                false,
                                {}});
            stack_ = &report().current;
            explains_ = true;
            return;
        }
        if (reports_.empty()) return;
        const bool explains = std::exchange(explains_, false);
        if (std::regex_match(line, found, frame_line)) read_frame(found);
        else if (std::regex_match(line, found, location_line)) read_location(found);
        else if (std::regex_match(line, found, thread_line)) read_thread(found);
        else if (std::regex_match(line, found, leak_line)) read_leak(found);
        else if (line.rfind(summary_start, 0) == 0) report().summary = line.substr(summary_start.size());
        else if (explains) report().explanation = line;
        else stack_ = nullptr;
    }
    std::vector<Report> take() { return std::move(reports_); }

  private:
    Report& report() { return reports_.back(); }

    /// Frames are numbered from 0 without a gap, or they are not a stack.
    void read_frame(const std::smatch& found) {
        if (stack_ != nullptr && number(found[1]) == stack_->size()) stack_->push_back({found[2], found[3]});
    }
    void read_location(const std::smatch& found) {
        report().location =
            Location{number(found[1], 16), number(found[2]), number(found[4]), number(found[5], 16), number(found[6], 16), found[3]};
        stack_ = nullptr;
    }
    void read_thread(const std::smatch& found) {
        std::optional<ThreadStack>& into = found[1] == "freed" ? report().freed : report().allocated;
        into = ThreadStack{static_cast<unsigned>(number(found[2])), found[3], {}};
        if (found[1] == "previously allocated") report().says_previously = true;
        stack_ = &into->stack;
    }
    void read_leak(const std::smatch& found) {
        report().leaks.push_back({found[1] == "Direct", number(found[2]), number(found[3]), {}});
        stack_ = &report().leaks.back().stack;
    }

    std::vector<Report> reports_;
    Stack* stack_ = nullptr;
    bool explains_ = false;
};

}  // namespace

bool shows(const Stack& stack, const std::string& function) {
    return std::any_of(stack.begin(), stack.end(), [&](const Frame& frame) { return frame.function.rfind(function, 0) == 0; });
}

std::vector<Report> parse_reports(const std::string& text) {
    Reader reader;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) reader.read(line);
    return reader.take();
}

}  // namespace mpmm::detect
