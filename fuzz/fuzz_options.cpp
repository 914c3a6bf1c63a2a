// SPDX-License-Identifier: Apache-2.0
// The parser of MPMM_OPTIONS against a second one: what it takes, what it changes, and what it complains of, part by part.
//
// The input is lines. "!key=value" is options::set(), every other line options::apply(). A tab stands for many characters, so that short
// inputs come to the limits of texts.
//
// The source file itself is included: each run begins without the texts that earlier ones left.
#include "harness/target.hpp"
#include "verify/options.cpp"

#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

using namespace mpmm;
using namespace mpmm::fuzz;

namespace {

constexpr std::size_t tab_stands_for = 250, most_complaint = 400;

std::vector<std::string> complaints;

void note_complaint(void*, const char* text) { complaints.emplace_back(text); }

/// Standard error until take(), which returns what came.
class Printed {
  public:
    Printed() : standard_(::dup(2)), file_(::memfd_create("printed", 0)) {
        expect(standard_ >= 0 && file_ >= 0 && ::dup2(file_, 2) == 2, "no file for standard error");
    }
    ~Printed() {
        restore();
        ::close(standard_);
        ::close(file_);
    }
    Printed(const Printed&) = delete;
    Printed& operator=(const Printed&) = delete;
    std::string take() {
        restore();
        std::string text(static_cast<std::size_t>(::lseek(file_, 0, SEEK_END)), 0);
        expect(::pread(file_, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()), "standard error cannot be read back");
        return text;
    }

  private:
    void restore() const { ::dup2(standard_, 2); }
    int standard_, file_;
};

class Model {
  public:
    Model() {
        for (unsigned i = 0; i < options::key_count; ++i) {
            numbers_[i] = options::table[i].initial;
            options::detail::values[i].store(numbers_[i]);
        }
        for (unsigned i = 0; i < options::text_key_count; ++i) {
            texts_[i] = options::text_table[i].initial;
            options::detail::texts[i].store(options::text_table[i].initial);
        }
        std::fill(std::begin(options::text_storage), std::end(options::text_storage), '\0');
        options::text_storage_used = 0;
    }

    void line(const std::string& line) {
        complaints.clear();
        right_complaints_.clear();
        right_help_.clear();
        const bool one = line[0] == '!';
        const bool right = one ? set(std::string_view(line).substr(1)) : apply(line);
        if (line.find("help") == line.npos) {
            call(line, one, right);
        } else {
            Printed printed;
            call(line, one, right);
            expect(printed.take() == right_help_, "the help is not the table");
        }
        expect(complaints.size() == right_complaints_.size(), complaints.size(), " complaints, not ", right_complaints_.size(), ": ", line);
        for (std::size_t i = 0; i < complaints.size(); ++i)
            expect(complaints[i].find(right_complaints_[i]) != std::string::npos, complaints[i], " does not say: ", right_complaints_[i]);
        for (unsigned i = 0; i < options::key_count; ++i) {
            const std::uint64_t value = options::get(static_cast<options::Key>(i));
            expect(value == numbers_[i], options::table[i].key, " is ", value, ", not ", numbers_[i], " after ", line);
        }
        for (unsigned i = 0; i < options::text_key_count; ++i) {
            const char* const text = options::get(static_cast<options::TextKey>(i));
            expect(text == texts_[i], options::text_table[i].key, " is ", text, ", not ", texts_[i], " after ", line);
        }
    }

  private:
    struct Setting {
        std::size_t index;
        std::uint64_t number;
        std::string_view text;
    };

    static void call(const std::string& line, bool one, bool right) {
        const std::size_t equals = line.find('=');
        const bool good = !one ? options::apply(line.c_str())
                               : options::set(line.c_str() + 1, equals - 1, line.c_str() + equals + 1, line.size() - equals - 1);
        expect(good == right, right ? "refused: " : "taken: ", line);
    }
    void complain(const char* what, std::string_view name) {
        right_complaints_.push_back(std::string(what) + " '" + std::string(name.substr(0, most_complaint)));
    }
    bool apply(std::string_view settings) {
        std::vector<Setting> all;
        bool good = true;
        while (!settings.empty()) {
            const std::string_view part = settings.substr(0, settings.find(':'));
            settings.remove_prefix(std::min(settings.size(), part.size() + 1));
            if (part.empty()) continue;
            if (part.find('=') == part.npos) complain("no '=' in", part);
            if (part.find('=') == part.npos || !parse(part, all.emplace_back())) good = false;
        }
        if (good)
            for (const Setting& setting : all) store(setting);
        return good;
    }
    bool set(std::string_view part) {
        Setting setting;
        if (!parse(part, setting)) return false;
        store(setting);
        return true;
    }
    bool parse(std::string_view part, Setting& setting) {
        const std::string_view key = part.substr(0, part.find('=')), value = part.substr(key.size() + 1);
        const auto has_key = [key](const auto& row) { return row.key == key; };
        const auto* const number = std::find_if(std::begin(options::table), std::end(options::table), has_key);
        const auto* const text = std::find_if(std::begin(options::text_table), std::end(options::text_table), has_key);
        bool good = false;
        if (number != std::end(options::table)) {
            setting.index = static_cast<std::size_t>(number - options::table);
            good = number_of(value, setting.number) && setting.number >= number->lowest && setting.number <= number->highest;
        } else if (text != std::end(options::text_table)) {
            setting.index = options::key_count + static_cast<std::size_t>(text - options::text_table);
            setting.text = value;
            const std::string choices = '|' + std::string(text->choices) + '|', choice = '|' + std::string(value) + '|';
            const bool any = *text->choices == 0;
            good = any ? value.size() < options::most_text : value.find('|') == value.npos && choices.find(choice) != choices.npos;
        } else {
            complain("unknown key", key);
            return false;
        }
        if (!good) complain("bad value for", key);
        return good && (setting.index < options::key_count || keep(setting.text));
    }
    /// Each text is kept once, as long as there is room.
    bool keep(std::string_view text) {
        if (std::find(kept_.begin(), kept_.end(), text) != kept_.end()) return true;
        if (text.size() >= sizeof options::text_storage - kept_bytes_) {
            complain("no room for", text);
            return false;
        }
        kept_.emplace_back(text);
        kept_bytes_ += text.size() + 1;
        return true;
    }
    static bool number_of(std::string_view text, std::uint64_t& number) {
        std::uint64_t unit = 1;
        if (text.size() > 1)
            for (const char* u = "kmg"; *u != 0; ++u)
                if (text.back() == *u) {
                    unit = std::uint64_t{1} << 10 * (u - &"kmg"[0] + 1);
                    text.remove_suffix(1);
                    break;
                }
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
        if (text.empty() || error != std::errc() || end != text.data() + text.size() || number > UINT64_MAX / unit) return false;
        number *= unit;
        return true;
    }
    void store(const Setting& setting) {
        if (setting.index < options::key_count) {
            numbers_[setting.index] = setting.number;
            if (setting.index != options::help || setting.number == 0) return;
            for (const auto& row : options::table)
                right_help_ += std::string(row.key) + '=' + std::to_string(row.initial) + "  " + row.help + '\n';
            for (const auto& row : options::text_table) right_help_ += std::string(row.key) + '=' + row.initial + "  " + row.help + '\n';
            return;
        }
        texts_[setting.index - options::key_count] = setting.text;
    }

    std::uint64_t numbers_[options::key_count];
    std::string texts_[options::text_key_count];
    std::vector<std::string> kept_;
    std::size_t kept_bytes_ = 0;
    std::vector<std::string> right_complaints_;
    std::string right_help_;
};

}  // namespace

const Shape mpmm::fuzz::shape{split_records<0, 1>, join_pieces};

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    mpmm_debugger_callbacks callbacks{};
    callbacks.warning = note_complaint;
    report::set_callbacks(callbacks);
    return judge([&] {
        Model model;
        std::string line;
        for (std::size_t i = 0; i <= size; ++i) {
            const char character = i == size ? '\n' : static_cast<char>(data[i]);
            if (character == '\t') line.append(tab_stands_for, 'x');
            else if (character != '\n') line.push_back(character);
            else {
                line.resize(std::min(line.size(), line.find('\0')));
                if (trace != nullptr) *trace << line << std::endl;
                if (!line.empty() && (line[0] != '!' || line.find('=') != line.npos)) model.line(line);
                line.clear();
            }
        }
    });
}
