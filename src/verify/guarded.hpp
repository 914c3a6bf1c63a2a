// SPDX-License-Identifier: Apache-2.0
// Guarded blocks: each on pages of its own between inaccessible ones, its end at the end of its last page, so that a touch behind it or,
// once it is freed, anywhere in it stops the program at the instruction.
//
//     | no access | slack, block | no access | slack, block | no access | …     one reservation of addresses, cut from front to back
//
// A freed block's pages stay inaccessible until all addresses were used once; then the longest dead are used again. Every live block costs
// the system two mappings: when half of those a process may have are in use, blocks are no longer guarded, but for one in many, and a note
// says so. Electric Fence (B. Perens, 1987) and GWP-ASan are the models.
#pragma once

#include "verify/alloc_record.hpp"

namespace mpmm::guarded {

/// At start-up: how many mappings the process may have.
void prepare(std::size_t mappings);
/// Whether the calling thread's next block should be guarded: one in guard_sample_rate, at random.
bool due();
/// A block with a busy record in `place`, filled with zeroes; false when there is no room.
bool allocate(std::size_t size, std::size_t alignment, Place& place);
/// Takes a block's pages away; its record stays and goes to `freed`.
void free(const Place& place);
/// Whether the address lies among guarded blocks and their guard pages. Signal-safe.
bool contains(const void* address);
/// The block at, or nearest to, an address that contains() accepted; false when there never was one. Signal-safe.
bool find(const void* address, Place& place);
/// Calls visit(context, place) for every block that is live; it stays so, and accessible, during the visit.
void for_each(void (*visit)(void* context, const Place& place), void* context);
/// The same without the lock, while all other threads stand still.
void for_each_stopped(void (*visit)(void* context, const Place& place), void* context);
/// Calls visit(begin, end) for the memory that this file uses. Takes no lock.
template <class Visit>
void for_each_range(Visit visit);

struct Totals {
    std::size_t blocks, bytes;
};
Totals live();

/// Memory of this file, by number; false behind the last.
bool range(unsigned number, std::uintptr_t& begin, std::uintptr_t& end);
template <class Visit>
void for_each_range(Visit visit) {
    std::uintptr_t begin = 0, end = 0;
    for (unsigned number = 0; range(number, begin, end); ++number) visit(begin, end);
}

void lock();
void unlock();
void reset_after_fork();

}  // namespace mpmm::guarded
