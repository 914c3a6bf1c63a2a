// SPDX-License-Identifier: Apache-2.0
#include "verify/options.hpp"

#include "platform/os.hpp"
#include "verify/report.hpp"

#include <cstring>

namespace mpmm::options {
namespace {

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

constinit Atomic<std::uint64_t> values[key_count] = {
#define X(key, initial, ...) {initial},
    MPMM_OPTION_TABLE(X)
#undef X
};

constinit Atomic<bool> environment_loaded{false};

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

/// The table index and the number, or false with a message.
bool parse(const char* key, std::size_t key_length, const char* text, std::size_t text_length, unsigned& index, std::uint64_t& value) {
    for (index = 0; index < key_count; ++index)
        if (std::strlen(table[index].key) == key_length && std::memcmp(table[index].key, key, key_length) == 0) break;
    if (index == key_count) {
        report::bad_option("unknown key", key, key_length);
        return false;
    }
    if (!parse_number(text, text_length, value) || value < table[index].lowest || value > table[index].highest) {
        report::bad_option("bad value for", key, key_length);
        return false;
    }
    return true;
}

void print_help() {
    for (unsigned i = 0; i < key_count; ++i) {
        report::Line line;
        line.text(table[i].key).text("=").decimal(table[i].initial).text("  ").text(table[i].help).print();
    }
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
                unsigned index = 0;
                std::uint64_t value = 0;
                if (parse(settings, key_length, equals + 1, length - key_length - 1, index, value)) visit(index, value);
                else good = false;
            }
        }
        settings += length;
        if (*settings == ':') ++settings;
    }
    return good;
}

void store(unsigned index, std::uint64_t value) {
    values[index].store(value, relaxed);
    if (index == help && value != 0) print_help();
}

}  // namespace

std::uint64_t get(Key key) { return values[key].load(relaxed); }

bool set(const char* key, std::size_t key_length, const char* value, std::size_t value_length) {
    unsigned index = 0;
    std::uint64_t number = 0;
    if (!parse(key, key_length, value, value_length, index, number)) return false;
    store(index, number);
    return true;
}

bool apply(const char* settings) {
    if (!each_setting(settings, [](unsigned, std::uint64_t) {})) return false;
    return each_setting(settings, store);
}

void load_environment() {
    if (environment_loaded.exchange(true, relaxed)) return;
    if (const char* const settings = os::environment("MPMM_OPTIONS"); settings != nullptr) apply(settings);
}

}  // namespace mpmm::options
