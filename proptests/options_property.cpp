// SPDX-License-Identifier: Apache-2.0
// Settings: what is printed can be parsed, a good setting has exactly its effect, and a bad one has none and is named.
#include "verify/options.hpp"
#include "in_child.hpp"
#include "verify/report.hpp"

#include <charconv>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <map>
#include <rapidcheck.h>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace mpmm {
namespace {

struct Number {
    const char* key;
    std::uint64_t initial, lowest, highest;
};
constexpr Number numbers[] = {
#define X(key, initial, lowest, highest, help) {#key, initial, lowest, highest},
    MPMM_OPTION_TABLE(X)
#undef X
};
struct Text {
    const char* key;
    const char* initial;
    const char* choices;
};
constexpr Text texts[] = {
#define X(key, initial, choices, help) {#key, initial, choices},
    MPMM_TEXT_OPTION_TABLE(X)
#undef X
};
constexpr unsigned all_count = std::size(numbers) + std::size(texts);

std::string key_of(unsigned index) { return index < std::size(numbers) ? numbers[index].key : texts[index - std::size(numbers)].key; }

/// All values, by their keys, as text.
using Values = std::map<std::string, std::string>;

Values values() {
    Values all;
    for (unsigned i = 0; i < options::key_count; ++i) all[numbers[i].key] = std::to_string(options::get(static_cast<options::Key>(i)));
    for (unsigned i = 0; i < options::text_key_count; ++i) all[texts[i].key] = options::get(static_cast<options::TextKey>(i));
    return all;
}

using Setting = std::pair<std::string, std::string>;

/// What a text means as a number; nothing when it is none.
std::optional<std::uint64_t> parse_number(std::string_view text) {
    const std::map<char, unsigned> units = {{'k', 10}, {'m', 20}, {'g', 30}};
    unsigned shift = 0;
    if (const auto unit = text.empty() ? units.end() : units.find(text.back()); unit != units.end()) {
        shift = unit->second;
        text.remove_suffix(1);
    }
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value << shift >> shift != value) return std::nullopt;
    return value << shift;
}

/// What should become of a setting: its value as values() shows it, or nothing and what to say about it.
std::optional<std::string> parse(const Setting& setting, std::string& complaint) {
    const auto& [key, text] = setting;
    complaint = "bad value for '" + key + "'";
    for (const Number& number : numbers) {
        if (key != number.key) continue;
        const auto value = parse_number(text);
        if (!value || *value < number.lowest || *value > number.highest) return std::nullopt;
        return std::to_string(*value);
    }
    for (const Text& option : texts) {
        if (key != option.key) continue;
        const std::string choices = '|' + std::string(option.choices) + '|';
        const bool is_choice = text.find('|') == std::string::npos && choices.find('|' + text + '|') != std::string::npos;
        if (*option.choices != 0 ? !is_choice : text.size() >= 1024) return std::nullopt;
        return text;
    }
    complaint = "unknown key '" + key + "'";
    return std::nullopt;
}

rc::Gen<std::string> short_text(const std::string& letters) {
    return rc::gen::resize(12, rc::gen::container<std::string>(rc::gen::elementOf(letters)));
}

/// A number within the bounds, mostly at one of them; with a unit where it is a multiple of one.
rc::Gen<std::string> good_number(const Number& number) {
    const auto within = rc::gen::map(rc::gen::arbitrary<std::uint64_t>(), [number](std::uint64_t any) {
        const std::uint64_t span = number.highest - number.lowest;
        return number.lowest + (span == UINT64_MAX ? any : any % (span + 1));
    });
    const auto value = rc::gen::oneOf(rc::gen::element(number.lowest, number.highest, number.initial), within,
                                      rc::gen::map(within, [number](std::uint64_t n) { return std::max(n >> 20 << 20, number.lowest); }));
    return rc::gen::map(rc::gen::pair(value, rc::gen::inRange(0u, 4u)), [](const auto& parts) {
        const auto [n, unit] = parts;
        if (unit == 0 || n % (std::uint64_t{1} << 10 * unit) != 0) return std::to_string(n);
        return std::to_string(n >> 10 * unit) + "kmg"[unit - 1];
    });
}

/// All but ':' and the byte that ends a text.
const std::string any_letters = [] {
    std::string all;
    for (int c = 1; c < 256; ++c)
        if (c != ':') all.push_back(static_cast<char>(c));
    return all;
}();

rc::Gen<std::string> value_of(unsigned index) {
    const auto nonsense = short_text("0123456789kmg-+. ext|json");
    if (index < std::size(numbers)) {
        const Number& number = numbers[index];
        const auto beside = rc::gen::element(std::to_string(number.highest + 1), std::to_string(number.lowest - 1),
                                             std::string("18446744073709551616"), std::string("18014398509481984k"));
        return rc::gen::oneOf(good_number(number), good_number(number), good_number(number), beside, nonsense);
    }
    if (*texts[index - std::size(numbers)].choices != 0)
        return rc::gen::oneOf(rc::gen::element<std::string>("text", "json", "text|json", "tex", "jsonx"), nonsense);
    // The longest that is taken, and the shortest that is not.
    const auto longer = rc::gen::map(rc::gen::element<std::size_t>(1023, 1024), [](std::size_t size) { return std::string(size, 'x'); });
    return rc::gen::oneOf(short_text(any_letters), short_text(any_letters), longer);
}

/// Mostly good ones.
rc::Gen<Setting> any_setting() {
    const auto known = rc::gen::mapcat(rc::gen::inRange(0u, all_count),
                                       [](unsigned index) { return rc::gen::pair(rc::gen::just(key_of(index)), value_of(index)); });
    // A key that lacks letters at its end or has one too many, and none at all.
    const auto unknown = rc::gen::map(
        rc::gen::tuple(rc::gen::inRange(0u, all_count), rc::gen::inRange<std::size_t>(0, 20), short_text("s_x")), [](const auto& parts) {
            const auto& [index, length, more] = parts;
            return Setting(key_of(index).substr(0, length) + more, "1");
        });
    return rc::gen::oneOf(known, known, known, known, known, unknown);
}

/// Collects what is said about settings, and keeps the table that help=1 prints out of the way.
class Warnings {
  public:
    Warnings() {
        report::set_callbacks({sizeof(mpmm_debugger_callbacks), this, nullptr,
                               [](void* self, const char* text) { static_cast<Warnings*>(self)->all.emplace_back(text); }, nullptr});
        ::dup2(::open("/dev/null", O_WRONLY), 2);
    }
    std::vector<std::string> all;
};

void expect_said(const Warnings& warnings, const std::vector<std::string>& complaints) {
    RC_ASSERT(warnings.all.size() == complaints.size());
    for (std::size_t i = 0; i < complaints.size(); ++i) RC_ASSERT(warnings.all[i].find(complaints[i]) != std::string::npos);
}

TEST(OptionsProperty, SettingsHaveTheirEffectOrNone) {
    EXPECT_TRUE(rc::check("settings have their effect or none", [] {
        const auto settings = *rc::gen::container<std::vector<Setting>>(any_setting());
        test::in_child([&] {
            Warnings warnings;
            Values expected = values();
            std::vector<std::string> complaints;
            for (const auto& [key, text] : settings) {
                std::string complaint;
                const auto value = parse({key, text}, complaint);
                if (value) expected[key] = *value;
                else complaints.push_back(complaint);
                RC_ASSERT(options::set(key.data(), key.size(), text.data(), text.size()) == value.has_value());
                RC_ASSERT(values() == expected);
            }
            expect_said(warnings, complaints);
        });
    }));
}

TEST(OptionsProperty, AStringOfSettingsIsAppliedWholeOrNotAtAll) {
    EXPECT_TRUE(rc::check("a string of settings is applied whole or not at all", [] {
        auto settings = *rc::gen::container<std::vector<Setting>>(any_setting());
        // One bad part spoils all of them.
        const bool good = *rc::gen::arbitrary<bool>();
        std::string ignored;
        if (good) std::erase_if(settings, [&](const Setting& setting) { return !parse(setting, ignored); });
        // An empty part follows, or one without a '='.
        const auto extras =
            *rc::gen::container<std::vector<int>>(settings.size(), rc::gen::weightedElement<int>({{12, 0}, {2, 1}, {1, 2}}));
        test::in_child([&] {
            Warnings warnings;
            const Values before = values();
            Values after = before;
            std::vector<std::string> complaints;
            std::string whole;
            for (std::size_t i = 0; i < settings.size(); ++i) {
                const auto& [key, text] = settings[i];
                std::string complaint;
                whole += key + '=' + text + ':';
                if (const auto value = parse(settings[i], complaint)) after[key] = *value;
                else complaints.push_back(complaint);
                if (extras[i] == 1) whole += ':';
                if (extras[i] != 2 || good || key.empty()) continue;
                whole += key + ':';
                complaints.push_back("no '=' in '" + key + "'");
            }
            RC_ASSERT(options::apply(whole.c_str()) == complaints.empty());
            RC_ASSERT(values() == (complaints.empty() ? after : before));
            expect_said(warnings, complaints);
        });
    }));
}

/// Every line of the table that help=1 prints begins with a setting; all of them together make the defaults again.
TEST(OptionsProperty, TheTableIsAString) {
    EXPECT_TRUE(rc::check("the table is a string of settings", [] {
        const auto settings = *rc::gen::container<std::vector<Setting>>(any_setting());
        test::in_child([&] {
            Warnings warnings;
            Values defaults;
            for (const Number& number : numbers) defaults[number.key] = std::to_string(number.initial);
            for (const Text& text : texts) defaults[text.key] = text.initial;
            for (const auto& [key, text] : settings) options::set(key.data(), key.size(), text.data(), text.size());
            int ends[2];
            RC_ASSERT(::pipe(ends) == 0);
            ::dup2(ends[1], 2);
            RC_ASSERT(options::apply("help=1"));
            char buffer[1 << 14];
            const ssize_t size = ::read(ends[0], buffer, sizeof buffer);
            RC_ASSERT(size > 0);
            std::istringstream lines(std::string(buffer, static_cast<std::size_t>(size)));
            std::string whole, line;
            unsigned count = 0;
            for (; std::getline(lines, line); ++count) whole += line.substr(0, line.find("  ")) + ':';
            RC_ASSERT(count == all_count);
            RC_ASSERT(options::apply(whole.c_str()));
            RC_ASSERT(values() == defaults);
        });
    }));
}

}  // namespace
}  // namespace mpmm
