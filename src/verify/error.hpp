// SPDX-License-Identifier: Apache-2.0
// What a report tells, gathered by whoever found the error. Everything is optional but the kind and the address.
#pragma once

#include "platform/unwind.hpp"
#include "verify/alloc_record.hpp"
#include "verify/report.hpp"
#include "verify/stack_depot.hpp"

namespace mpmm::report {

struct Stack {
    std::uintptr_t frames[stack_depot::max_frames]{};
    std::size_t count = 0;
};

/// The block in question, as its record tells.
struct BlockFacts {
    const std::byte* begin = nullptr;
    std::size_t size = 0;
    Family family = Family::malloc;
    bool freed = false, guarded = false;
    std::uint16_t alloc_thread = 0, free_thread = 0;
    std::uint32_t alloc_stack = 0, free_stack = 0;
    std::uint64_t sequence = 0;
};

/// Memory to show, and the bytes of it that are wrong. All of it must be readable.
struct Dump {
    const std::byte *begin = nullptr, *end = nullptr;
    const std::byte *bad_begin = nullptr, *bad_end = nullptr;
};

/// The block allocator of the block, as its bitmaps were.
struct AllocatorFacts {
    static constexpr unsigned max_words = 32;
    const void* allocator = nullptr;
    const void* base = nullptr;
    std::size_t block_size = 0;
    unsigned blocks = 0, index = 0, words = 0;
    std::uintptr_t owner_word = 0;
    const char* state = "";
    std::uint64_t free_map[max_words]{}, remote_map[max_words]{};
};

struct Leak {
    std::uint32_t stack = 0;
    std::size_t bytes = 0, blocks = 0;
    bool direct = true;
    const void* example = nullptr;
};

struct Error {
    Kind kind = Kind::allocator_corruption;
    const void* address = nullptr;
    Line what;  ///< one line that explains
    Stack stack;
    std::uint16_t thread = 0;
    bool has_block = false;
    BlockFacts block;
    Dump dump;
    AllocatorFacts allocator;
    const char* invariant = nullptr;
    std::uint64_t found = 0, expected = 0;
    const Leak* leaks = nullptr;
    std::size_t leak_count = 0, leaked_bytes = 0, leaked_blocks = 0;
};

/// Fills in the calling thread and its stack from `site` on; `exact_pc` as unwind::capture() has it.
void set_place(Error& error, const unwind::Registers& site, bool exact_pc = false);

/// One report at a time. Whoever holds this may be interrupted by a signal whose handler reports as well: that one is nested.
class Reporting {
  public:
    Reporting();
    ~Reporting();
    Reporting(const Reporting&) = delete;
    Reporting& operator=(const Reporting&) = delete;
    bool nested() const { return nested_; }
    static void reset_after_fork() { holder_.store(0, relaxed); }

  private:
    static inline constinit Atomic<std::uint32_t> holder_{0};
    std::uint32_t id_;
    bool nested_ = false;
};

/// Writes the report, or gives it to the user's callback, and stops the process unless halt_on_error=0. Any thread, any state of the heap.
[[gnu::cold]] void error(const Error& error);
[[gnu::cold]] void error(const Error& error, const Reporting& reporting);
/// The two forms, for error(): text as AddressSanitizer's readers know it, and one JSON object in a line.
class Writer;
void write_text(Writer& out, const Error& error);
void write_json(Writer& out, const Error& error);

/// A long text in a buffer that the caller owns; what does not fit is cut.
class Writer {
  public:
    Writer(char* buffer, std::size_t size) : buffer_(buffer), capacity_(size - 1) { *buffer = 0; }
    Writer& text(const char* string);
    Writer& text(const char* string, std::size_t length);
    Writer& decimal(std::uint64_t value);
    Writer& hex(std::uint64_t value);
    Writer& address(const void* pointer) { return hex(reinterpret_cast<std::uintptr_t>(pointer)); }
    /// Two hexadecimal digits.
    Writer& byte(std::byte value);
    /// In quotes, as JSON wants it; bytes that are no ASCII become \u00XX.
    Writer& quoted(const char* string);
    const char* begin() const { return buffer_; }
    std::size_t size() const { return size_; }

  private:
    char* buffer_;
    std::size_t capacity_, size_ = 0;
};

const char* name(Family family);
/// How the families are called in a sentence: "operator new[]", and what frees them.
const char* allocated_by(Family family);
const char* freed_by(Family family);

}  // namespace mpmm::report
