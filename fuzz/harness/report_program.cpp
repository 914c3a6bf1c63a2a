// SPDX-License-Identifier: Apache-2.0
#include "harness/report_program.hpp"

#include "harness/executor.hpp"
#include "harness/sizes.hpp"

#include <algorithm>
#include <limits>
#include <map>
#include <regex>
#include <sstream>

namespace mpmm::fuzz {

namespace {

constexpr std::uint8_t system_backend = 15;  // Flavour::decode

/// The selector of the nearest size that is not smaller, or of the largest.
std::uint16_t selector_of(std::size_t size) {
    static const auto selectors = [] {
        std::map<std::size_t, std::uint16_t> found;
        for (unsigned selector = 0; selector <= std::numeric_limits<std::uint16_t>::max(); ++selector) {
            const std::size_t has = request_size(static_cast<std::uint16_t>(selector));
            if (!impossible(has)) found.emplace(has, static_cast<std::uint16_t>(selector));
        }
        return found;
    }();
    const auto found = selectors.lower_bound(size);
    return found == selectors.end() ? selectors.rbegin()->second : found->second;
}

class Translator {
  public:
    void allocate(unsigned thread, std::size_t size, const std::string& block) {
        if (live_.size() == Executor::max_blocks) return;
        add(Kind::malloc, thread, selector_of(size), 0);
        live_.push_back(block);
    }
    void free(unsigned thread, const std::string& block) {
        if (const auto found = take(block)) add(Kind::free, thread, 0, *found);
    }
    void realloc(unsigned thread, const std::string& old, std::size_t size, const std::string& block) {
        const auto found = take(old);
        if (!found) return allocate(thread, size, block);
        add(Kind::realloc, thread, selector_of(size), *found);
        live_.push_back(block);
    }
    Program program{system_backend, {}};

  private:
    void add(Kind kind, unsigned thread, std::uint16_t size, std::size_t slot) {
        program.operations.push_back({kind, static_cast<std::uint8_t>(thread % thread_count), 0, size, static_cast<std::uint16_t>(slot)});
    }
    /// As the model does: the last slot moves into the place of one that goes.
    std::optional<std::size_t> take(const std::string& block) {
        const auto found = std::find(live_.begin(), live_.end(), block);
        if (found == live_.end()) return std::nullopt;
        const auto slot = static_cast<std::size_t>(found - live_.begin());
        *found = live_.back();
        live_.pop_back();
        return slot;
    }

    std::vector<std::string> live_;
};

}  // namespace

std::optional<Program> program_of_report(const std::string& text) {
    static const std::regex operation(R"(\s*\d+ T(\d+) (?:allocate (\d+) = (0x\w+)|free (0x\w+)|realloc (0x\w+) (\d+) = (0x\w+)))");
    const std::size_t begin = text.find(" operations, oldest first (number, thread, operation):\n");
    if (begin == text.npos) return std::nullopt;
    std::istringstream lines(text.substr(begin));
    std::string line;
    std::getline(lines, line);
    Translator translator;
    for (std::smatch match; std::getline(lines, line) && std::regex_match(line, match, operation);) {
        const auto thread = static_cast<unsigned>(std::stoul(match[1]));
        if (match[3].matched) translator.allocate(thread, std::stoul(match[2]), match[3]);
        else if (match[4].matched) translator.free(thread, match[4]);
        else translator.realloc(thread, match[5], std::stoul(match[6]), match[7]);
    }
    return translator.program;
}

}  // namespace mpmm::fuzz
