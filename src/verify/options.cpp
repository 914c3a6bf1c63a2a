// SPDX-License-Identifier: Apache-2.0
#include "verify/options.hpp"

#include "platform/lock.hpp"
#include "platform/os.hpp"
#include "verify/report.hpp"

#include <cstring>

namespace mpmm::options {
namespace detail {

constinit Atomic<std::uint64_t> values[key_count] = {
#define X(key, initial, ...) {initial},
    MPMM_OPTION_TABLE(X)
#undef X
};

constinit Atomic<const char*> texts[text_key_count] = {
#define X(key, initial, ...) {initial},
    MPMM_TEXT_OPTION_TABLE(X)
#undef X
};

constinit Atomic<bool> environment_loaded{false};

}  // namespace detail

namespace {

using detail::texts, detail::values;

struct Option {
    const char* key;
    std::uint64_t initial, lowest, highest;
    const char* help;
};

constexpr Option table[] = {
#define X(key, initial, lowest, highest, help) {#key, initial, lowest, highest, help},
    MPMM_OPTION_TABLE(X)
#undef X
};

constexpr unsigned all_count = unsigned{key_count} + unsigned{text_key_count};

struct TextOption {
    const char* key;
    const char* initial;
    const char* choices;
    const char* help;
};

constexpr TextOption text_table[] = {
#define X(key, initial, choices, help) {#key, initial, choices, help},
    MPMM_TEXT_OPTION_TABLE(X)
#undef X
};

/// Texts that were set, one behind the other: who reads one is never disturbed.
constexpr std::size_t most_text = 1024;
constinit char text_storage[4 * most_text]{};
constinit std::size_t text_storage_used = 0;
constinit Mutex text_lock;

/// A setting that was understood: the index counts through both tables.
struct Setting {
    unsigned index;
    std::uint64_t number;
    const char* text;
};

/// Decimal digits, with an optional k, m or g for powers of 1024.
bool parse_number(const char* text, std::size_t length, std::uint64_t& value) {
    unsigned shift = 0;
    if (length > 1) {
        const char unit = text[length - 1];
        shift = unit == 'k' ? 10 : unit == 'm' ? 20 : unit == 'g' ? 30 : 0;
        if (shift != 0) --length;
    }
    if (length == 0) return false;
    value = 0;
    for (std::size_t i = 0; i < length; ++i) {
        if (text[i] < '0' || text[i] > '9') return false;
        const auto digit = static_cast<std::uint64_t>(text[i] - '0');
        if (value > (UINT64_MAX - digit) / 10) return false;
        value = value * 10 + digit;
    }
    if (value > (UINT64_MAX >> shift)) return false;
    value <<= shift;
    return true;
}

bool is_choice(const char* choices, const char* text, std::size_t length) {
    if (*choices == 0) return true;
    for (const char* choice = choices;; ++choice) {
        const std::size_t end = std::strcspn(choice, "|");
        if (end == length && std::memcmp(choice, text, length) == 0) return true;
        choice += end;
        if (*choice == 0) return false;
    }
}

bool is_key(const char* key, const char* text, std::size_t length) {
    return std::strlen(key) == length && std::memcmp(key, text, length) == 0;
}

/// The text in text_storage, where it may be already; nullptr when there is no room.
const char* stored_text(const char* text, std::size_t length) {
    const Guard guard(text_lock);
    for (const char* known = text_storage; known < text_storage + text_storage_used; known += std::strlen(known) + 1)
        if (std::strlen(known) == length && std::memcmp(known, text, length) == 0) return known;
    if (length >= sizeof text_storage - text_storage_used) return nullptr;
    char* const place = text_storage + text_storage_used;
    std::memcpy(place, text, length);
    text_storage_used += length + 1;
    return place;
}

/// The setting, its text in text_storage; or false with a message.
bool parse(const char* key, std::size_t key_length, const char* text, std::size_t text_length, Setting& setting) {
    setting = {0, 0, nullptr};
    bool good = false;
    while (setting.index < key_count && !is_key(table[setting.index].key, key, key_length)) ++setting.index;
    if (setting.index < key_count) {
        const Option& option = table[setting.index];
        good = parse_number(text, text_length, setting.number) && setting.number >= option.lowest && setting.number <= option.highest;
    } else {
        while (setting.index < all_count && !is_key(text_table[setting.index - key_count].key, key, key_length)) ++setting.index;
        if (setting.index == all_count) {
            report::bad_option("unknown key", key, key_length);
            return false;
        }
        good = is_choice(text_table[setting.index - key_count].choices, text, text_length) && text_length < most_text;
    }
    if (!good) {
        report::bad_option("bad value for", key, key_length);
    } else if (setting.index >= key_count) {
        setting.text = stored_text(text, text_length);
        good = setting.text != nullptr;
        if (!good) report::bad_option("no room for", text, text_length);
    }
    return good;
}

void print_help() {
    for (const Option& option : table)
        report::Line().text(option.key).text("=").decimal(option.initial).text("  ").text(option.help).print();
    for (const TextOption& option : text_table)
        report::Line().text(option.key).text("=").text(option.initial).text("  ").text(option.help).print();
}

/// Visits every key=value; stops at nothing, so that each bad part is named.
template <class Visit>
bool each_setting(const char* settings, Visit visit) {
    bool good = true;
    while (*settings != 0) {
        const std::size_t length = std::strcspn(settings, ":");
        if (length != 0) {
            const auto* const equals = static_cast<const char*>(std::memchr(settings, '=', length));
            if (equals == nullptr) {
                report::bad_option("no '=' in", settings, length);
                good = false;
            } else {
                const auto key_length = static_cast<std::size_t>(equals - settings);
                Setting setting;
                if (parse(settings, key_length, equals + 1, length - key_length - 1, setting)) visit(setting);
                else good = false;
            }
        }
        settings += length;
        if (*settings == ':') ++settings;
    }
    return good;
}

void store(const Setting& setting) {
    if (setting.index < key_count) {
        values[setting.index].store(setting.number, relaxed);
        if (setting.index == help && setting.number != 0) print_help();
        return;
    }
    // release: who reads the pointer reads the text.
    texts[setting.index - key_count].store(setting.text, release);
}

}  // namespace

bool set(const char* key, std::size_t key_length, const char* value, std::size_t value_length) {
    Setting setting;
    if (!parse(key, key_length, value, value_length, setting)) return false;
    store(setting);
    return true;
}

bool apply(const char* settings) {
    if (!each_setting(settings, [](const Setting&) {})) return false;
    return each_setting(settings, store);
}

void detail::load_environment_slow() {
    // Runtimes that allocate before the C library begins find it later.
    if (!os::has_environment()) return;
    if (environment_loaded.exchange(true, relaxed) || os::is_privileged()) return;
    if (const char* const settings = os::environment("MPMM_OPTIONS"); settings != nullptr) apply(settings);
}

}  // namespace mpmm::options
