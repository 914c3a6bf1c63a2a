// SPDX-License-Identifier: Apache-2.0
// Every message of the allocator is worded here. Nothing in this file allocates, takes a lock or needs libc's streams: a report may come
// from the middle of a broken heap.
#pragma once

#include "mpmm/mpmm.h"

#include <cstddef>
#include <cstdint>

namespace mpmm::report {

enum class Kind {
    double_free,
    invalid_free,
    size_mismatch,
    alloc_dealloc_mismatch,
    heap_buffer_overflow,
    heap_buffer_underflow,
    heap_use_after_free,
    allocator_corruption,
    leak,
};

/// Something that the user should know, and no error: one line on stderr or in the log, or the user's callback.
[[gnu::cold]] void note(const char* text, std::uint64_t value);

/// The name of the kind in the first line of a report.
const char* name(Kind kind);

/// The user's program did something wrong with `address`. Prints one line, and stops the process unless halt_on_error=0; then the
/// caller must ignore the operation.
[[gnu::cold]] [[gnu::noinline]] void user_error(Kind kind, const void* address);
/// One of the allocator's own invariants is broken: its name, the structure, and the two values that should be equal.
[[gnu::cold]] [[gnu::noinline]] void corruption(const char* invariant, const void* where, std::uint64_t found, std::uint64_t expected);
/// A backend broke its contract; the operation fails as out of memory and the process goes on.
[[gnu::cold]] void backend_misbehaved(const char* what, const void* address, std::size_t size);
/// An unknown key or a bad value in MPMM_OPTIONS or mpmm_set_option(); nothing was changed.
[[gnu::cold]] void bad_option(const char* what, const char* text, std::size_t length);
/// operator new ran out of memory in a process without a C++ runtime to throw with.
[[noreturn]] [[gnu::cold]] void cannot_throw(std::size_t size);

/// Appends text to a fixed buffer, and cuts what does not fit.
class Line {
  public:
    Line& text(const char* string);
    Line& text(const char* string, std::size_t length);
    Line& decimal(std::uint64_t value);
    Line& address(const void* pointer);
    Line& hex(std::uint64_t value);
    /// Writes the line and a newline in one go.
    void print(int descriptor = 2);
    const char* c_str() const { return buffer_; }

  private:
    char buffer_[512]{};
    std::size_t size_ = 0;
};

/// The user's functions for what is told, in place of printing it; null members print. See mpmm_debugger_callbacks.
void set_callbacks(const mpmm_debugger_callbacks& callbacks);

/// At start-up of the verify build: remembers standard error.
void prepare();
/// In fork's child: a report that another thread was writing is nobody's.
void reset_after_fork();

}  // namespace mpmm::report
