// SPDX-License-Identifier: Apache-2.0
// Stores each call stack once and gives it a number. A hash table of chains; entries are only ever added, so look-ups and insertions take
// no lock but for the memory of a new entry.
//
//     bucket ──► entry: | hash | next entry's number | count | return addresses … |
//
// A number is the entry's place: segment, and offset in eight-byte units. 0 is the empty stack.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mpmm::stack_depot {

inline constexpr std::size_t max_frames = 64;

/// The number of these return addresses; 0 when there are none, or no memory to store them.
std::uint32_t put(const std::uintptr_t* frames, std::size_t count);
/// The return addresses of `stack`, innermost first, and their count. Stays valid.
std::size_t get(std::uint32_t stack, const std::uintptr_t*& frames);

/// For fork: the lock that adding an entry takes.
void lock();
void unlock();
void reset_after_fork();

}  // namespace mpmm::stack_depot
