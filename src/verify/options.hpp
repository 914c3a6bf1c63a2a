// SPDX-License-Identifier: Apache-2.0
// The run-time settings: one table gives each its key, default, bounds and help. They come from MPMM_OPTIONS=key=value:key=value, from
// mpmm_init() and from mpmm_set_option(); a value takes effect at once. A setting that cannot be used is named on stderr and changes
// nothing. Reads are relaxed loads: a setting carries no other data with it.
#pragma once

#include "platform/atomics.hpp"

#include <cstddef>
#include <cstdint>

namespace mpmm::options {

// key, default, lowest, highest, help
#define MPMM_OPTION_TABLE(X)                                                                                                         \
    X(halt_on_error, 1, 0, 1, "stop the process at the first error; 0 reports and goes on")                                          \
    X(exitcode, 0, 0, 255, "exit status after an error; 0 calls abort(), and leaks alone end with 23")                               \
    X(quarantine_bytes, 16777216, 0, UINT64_MAX, "verify: bytes of freed blocks kept from reuse")                                    \
    X(redzone_bytes, 16, 16, 2048, "verify: bytes before and behind each block that must not change")                                \
    X(guard_sample_rate, 1000, 0, UINT32_MAX, "verify: one block in so many lies between inaccessible pages; 0 none, 1 every block") \
    X(guard_align, 16, 1, 16, "verify: alignment of guarded blocks; 1 puts every block's end at the page's end")                     \
    X(detect_leaks, 0, 0, 1, "verify: report blocks that nothing points to when the process ends")                                   \
    X(check_interval, 0, 0, UINT64_MAX, "verify: operations between checks of the whole heap; 0 none")                               \
    X(stack_depth, 16, 0, 64, "verify: stored frames of each call stack; 0 stores none")                                             \
    X(full_unwind, 0, 0, 1, "verify: unwind stacks by the C++ runtime: slow, and right where the fast way is not")                   \
    X(trace_ops, 0, 0, 1048576, "verify: keep the last so many operations and print them with a report")                             \
    X(seed, 1, 0, UINT32_MAX, "verify: which blocks are guarded")                                                                    \
    X(decay_ms, 1000, 0, 86400000, "milliseconds an unused page is kept before it goes back to the system")                          \
    X(cache_limit, UINT64_MAX, 0, UINT64_MAX, "bytes of freed large blocks and chunks kept at most, decayed or not")                 \
    X(thp, 0, 0, 1, "ask the system for huge pages: fewer page faults and misses for more memory")                                   \
    X(purge, 1, 0, 1, "return unused pages to the system as time passes; 0 only at mpmm_purge() and malloc_trim()")                  \
    X(help, 0, 0, 1, "print this table at start-up")

// key, default, the values it may have ("" any), help
#define MPMM_TEXT_OPTION_TABLE(X)                                                                                        \
    X(report_format, "text", "text|json", "verify: how reports are written; json is one object a line")                  \
    X(log_path, "", "", "append reports to this file instead of writing to stderr")                                      \
    X(symbolizer, "", "", "verify: program that names addresses; empty finds llvm-symbolizer or addr2line, 0 uses none") \
    X(suppressions, "", "", "verify: leaks with one of these functions in their stack are not reported (a+b+c*)")

enum Key : unsigned {
#define X(key, ...) key,
    MPMM_OPTION_TABLE(X)
#undef X
        key_count
};
enum TextKey : unsigned {
#define X(key, ...) key,
    MPMM_TEXT_OPTION_TABLE(X)
#undef X
        text_key_count
};

namespace detail {
extern Atomic<std::uint64_t> values[key_count];
extern Atomic<const char*> texts[text_key_count];
extern Atomic<bool> environment_loaded;
void load_environment_slow();
}  // namespace detail

/// The current value.
inline std::uint64_t get(Key key) { return detail::values[key].load(relaxed); }
/// A number of bytes or things: at most as many as there are addresses.
inline std::size_t bytes(Key key) {
    const std::uint64_t value = get(key);
    return value < SIZE_MAX ? static_cast<std::size_t>(value) : SIZE_MAX;
}
/// The current text, which stays valid. acquire: its characters were written before.
inline const char* get(TextKey key) { return detail::texts[key].load(acquire); }
/// Sets one option from text; false, with a line on stderr, when the key is unknown or the value is no number within its bounds.
bool set(const char* key, std::size_t key_length, const char* value, std::size_t value_length);
/// Applies a whole "key=value:key=value" string. When any part of it is bad, each bad part is named and nothing at all is changed.
bool apply(const char* settings);
/// Reads MPMM_OPTIONS once, as soon as there is an environment; later calls do nothing. A process with more rights than who started it ignores
/// the variable.
inline void load_environment() {
    // relaxed: the settings are atomic themselves.
    if (!detail::environment_loaded.load(relaxed)) [[unlikely]]
        detail::load_environment_slow();
}

}  // namespace mpmm::options
