// SPDX-License-Identifier: Apache-2.0
// What verify remembers of every block, outside the heap: a program that writes beyond its blocks cannot reach it.
//
//     unused ──► busy ──► live ──► busy ──► quarantined ──► freed ──► busy …
//                          ▲                    ▲
//                          ▼                    ▼
//                    inspected_live   inspected_quarantined       for the moment in which a check of the heap looks at the block
//
// Whoever changes a record makes it busy first, by compare-exchange: of two threads that free one block, one wins. The other members are
// written while busy, and are stable otherwise. `freed` says that the memory is the heap's again; what the record tells is history.
#pragma once

#include "platform/atomics.hpp"

#include <cstddef>
#include <cstdint>

namespace mpmm {

/// The functions a block came from, which say how it must be freed.
enum class Family : std::uint8_t { malloc, new_single, new_array, new_aligned, new_array_aligned };

enum class BlockState : std::uint8_t { unused, busy, live, quarantined, freed, inspected_live, inspected_quarantined };

struct AllocRecord {
    Atomic<BlockState> state{BlockState::unused};
    Family family = Family::malloc;
    /// log2 of the bytes between the heap's block and the user's. relaxed: who looks at the heap beside running threads reads it before he
    /// holds the block, and once more when he does.
    Atomic<std::uint8_t> front_shift{0};
    std::uint8_t reach = 0;  ///< used by the leak check
    std::uint16_t alloc_thread = 0, free_thread = 0;
    std::uint32_t alloc_stack = 0, free_stack = 0;  ///< in the stack depot
    std::size_t size = 0;                           ///< as requested
    std::uint64_t sequence : 63 = 0;                ///< number of the operation that made it
    std::uint64_t closed : 1 = 0;                   ///< its whole pages are inaccessible

    std::size_t front() const { return std::size_t{1} << front_shift.load(relaxed); }
    /// Takes the record in state `from` for a change; false when it is in another. Waits for a check that looks at it.
    bool take(BlockState from, BlockState to = BlockState::busy) {
        for (;;) {
            BlockState now = from;
            // acquire: what the last holder wrote is read next; release is put()'s.
            if (state.compare_exchange_strong(now, to, acquire, acquire)) return true;
            if (now != BlockState::inspected_live && now != BlockState::inspected_quarantined) return false;
            cpu_relax();
        }
    }
    /// The state, whoever looks at the block.
    BlockState seen() const {
        const BlockState now = state.load(acquire);
        return now == BlockState::inspected_live          ? BlockState::live
               : now == BlockState::inspected_quarantined ? BlockState::quarantined
                                                          : now;
    }
    void put(BlockState to) { state.store(to, release); }
};
static_assert(sizeof(AllocRecord) <= 32);

/// A block that has a record: `low` and `high` bound the memory around it that belongs to it alone.
struct Place {
    AllocRecord* record = nullptr;
    std::byte* user = nullptr;
    std::byte* low = nullptr;
    std::byte* high = nullptr;
    bool guarded = false;

    std::byte* end() const { return user + record->size; }
};

}  // namespace mpmm
