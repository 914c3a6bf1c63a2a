// SPDX-License-Identifier: Apache-2.0
// The run-time settings: one table gives each its key, default, bounds and help. They come from MPMM_OPTIONS=key=value:key=value, from
// mpmm_init() and from mpmm_set_option(); a value takes effect at once. A setting that cannot be used is named on stderr and changes
// nothing. Reads are relaxed loads: a setting carries no other data with it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mpmm::options {

// key, default, lowest, highest, help
#define MPMM_OPTION_TABLE(X)                                                                                        \
    X(halt_on_error, 1, 0, 1, "stop the process at the first error; 0 reports and ignores the operation")           \
    X(exitcode, 0, 0, 255, "exit status after an error; 0 calls abort()")                                           \
    X(check_interval, 0, 0, UINT64_MAX, "verify build: slow-path operations between whole-heap checks; 0 none")     \
    X(purge_delay_ms, 1000, 0, 86400000, "milliseconds an unused page is kept before it goes back to the system")   \
    X(purge, 1, 0, 1, "return unused pages to the system as time passes; 0 only at mpmm_purge() and malloc_trim()") \
    X(help, 0, 0, 1, "print this table at start-up")

enum Key : unsigned {
#define X(key, ...) key,
    MPMM_OPTION_TABLE(X)
#undef X
        key_count
};

/// The current value.
std::uint64_t get(Key key);
/// Sets one option from text; false, with a line on stderr, when the key is unknown or the value is no number within its bounds.
bool set(const char* key, std::size_t key_length, const char* value, std::size_t value_length);
/// Applies a whole "key=value:key=value" string. When any part of it is bad, each bad part is named and nothing at all is changed.
bool apply(const char* settings);
/// Reads MPMM_OPTIONS once; later calls do nothing.
void load_environment();

}  // namespace mpmm::options
