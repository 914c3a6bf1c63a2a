// SPDX-License-Identifier: Apache-2.0
// What the chunk map's entries mean, and the way from an address to its tenant, which every free takes.
//
//     entry = address of the first tenant | slot shift (5 bits) | intrusive (1 bit)
//
// The tenants of a chunk with detached block allocators are an array indexed by the slot number. Everything else is made to look the same:
// a large run and "not ours" are arrays of one with the slot shift of a whole chunk, so the look-up has no special case, and their owner
// word, which no thread cache equals, sends the caller to the slow path. Only intrusive block allocators lie somewhere else.
#pragma once

#include "block/owner_state.hpp"
#include "chunkmap/chunk_map.hpp"

namespace mpmm {

/// The tenant of every address that is not ours.
struct ForeignTenant {
    alignas(64) static inline constinit std::byte storage[64] = {static_cast<std::byte>(OwnerState::foreign)};
};

template <class G>
struct TenantEntries {
    using Entry = std::byte*;
    static constexpr std::uintptr_t shift_mask = 31, intrusive = 32, tag_mask = 63;
    static_assert(G::chunk_shift <= shift_mask);

    static constexpr Entry none() { return ForeignTenant::storage + G::chunk_shift; }
    /// A whole chunk with one tenant.
    static Entry whole(Tenant* tenant) { return reinterpret_cast<std::byte*>(tenant) + G::chunk_shift; }
    static Entry slots(void* first_tenant, unsigned slot_shift, bool is_intrusive) {
        return static_cast<std::byte*>(first_tenant) + slot_shift + (is_intrusive ? intrusive : 0);
    }
    static bool is_intrusive(Entry entry) { return (reinterpret_cast<std::uintptr_t>(entry) & intrusive) != 0; }
    static unsigned slot_shift(Entry entry) { return reinterpret_cast<std::uintptr_t>(entry) & shift_mask; }
    /// The first tenant; for intrusive chunks the end of the chunk's record.
    static std::byte* first(Entry entry) {
        return reinterpret_cast<std::byte*>(reinterpret_cast<std::uintptr_t>(entry) & ~tag_mask);
    }
};

template <class G>
using TenantMap = ChunkMap<G, TenantEntries<G>>;

/// Where an intrusive block allocator's header lies in its slot: anywhere in the slot's first half, by the slot's number, so that the
/// headers of neighbouring slots fall into different cache sets. Odd factors visit every position.
inline std::uintptr_t intrusive_header(std::uintptr_t slot, unsigned slot_shift) {
    const std::uintptr_t colours = (std::uintptr_t{1} << (slot_shift - 1)) - 64;
    return slot + ((slot >> slot_shift) * (5 * 64) & colours);
}

}  // namespace mpmm
