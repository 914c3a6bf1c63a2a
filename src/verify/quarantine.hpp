// SPDX-License-Identifier: Apache-2.0
// Freed blocks wait here before the heap may hand them out again, so that a write after free still hits the dead block and shows.
//
//     thread's batch ──► when full, at the end of the first-in-first-out list of all ──► when the list is over its limit, out at its head
//
// What leaves is the caller's: he checks the blocks and frees them, without any lock.
#pragma once

#include "verify/alloc_record.hpp"

namespace mpmm::quarantine {

struct Batch {
    static constexpr std::size_t capacity = 128;
    Batch* next;
    std::size_t count;
    std::size_t bytes;  ///< what the blocks cost while they wait
    Place blocks[capacity];
};

/// Adds a block; false when there is no memory to remember it. At most `limit` bytes will wait in all.
bool add(const Place& block, std::size_t bytes, std::size_t limit);
/// The oldest batch beyond `limit` bytes, or nullptr. The caller gives it to recycle() afterwards.
Batch* overdue(std::size_t limit);
void recycle(Batch* batch);
/// Moves the calling thread's batch to the list of all: at its end, and before everything is let go.
void publish();

void lock();
void unlock();
void reset_after_fork();

}  // namespace mpmm::quarantine
