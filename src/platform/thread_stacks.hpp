// SPDX-License-Identifier: Apache-2.0
// Which parts of the memory are dead stack: below the stack pointer of a thread, and the stacks of ended threads that glibc keeps for later
// ones.
//
//   mmap of one thread     [ guard | stack ............................. | static TLS | struct pthread ]
//                          block                  ▲ sp                                ▲ thread pointer      block + size
//                          ◀──────── dead ────────▶◀──────────────── in use ────────────────────────▶
//
// glibc writes three words into struct pthread that name the block: its address, size, and the size of the guard. Their place differs from
// version to version, but no other three words fit. A thread whose record is not found (another libc, another processor) loses nothing: all
// of its stack counts as in use.
#pragma once

#include "platform/hidden.hpp"
#include "platform/reader.hpp"
#include "platform/stop_world.hpp"

namespace mpmm {

class ThreadStacks {
  public:
    using Range = hidden::Range;

    /// `reader` must be ready.
    ThreadStacks(const stop_world::World& world, Reader& reader);

    /// Looks for ended threads' stacks in a private anonymous mapping.
    void look_for_ended(std::uintptr_t begin, std::uintptr_t end);
    /// The main thread's stack, which has no record.
    void main_stack(std::uintptr_t begin, std::uintptr_t end);
    /// Call once, after all of the above.
    void finish();
    /// Whether `address` is dead; `end` comes down to where that may change.
    bool dead(std::uintptr_t address, std::uintptr_t& end) const;

  private:
    // struct pthread up to where its last interesting field can be.
    static constexpr std::size_t header_words_ = 288;
    static constexpr std::size_t max_dead_ = 16384;
    struct Header {
        std::uintptr_t words[header_words_];
    };

    bool read_header(std::uintptr_t pointer, Header& header);
    static bool find_stack(std::uintptr_t pointer, const Header& header, Range& block, std::uintptr_t& lowest);
    void find_tid_offset();
    bool live(std::uintptr_t pointer) const;
    void ended(std::uintptr_t pointer);
    void add(std::uintptr_t begin, std::uintptr_t end);

    const stop_world::World& world_;
    Reader& reader_;
    hidden::Memory memory_;
    std::size_t count_ = 0;
    /// Where in struct pthread the thread's number is, in numbers of its length; 0 unknown.
    std::size_t tid_at_ = 0;
    bool all_known_ = true;
};

}  // namespace mpmm
