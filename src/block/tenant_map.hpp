// SPDX-License-Identifier: Apache-2.0
// What the chunk map's entries mean, and the way from an address to its tenant, which every free takes.
//
//     entry = address | slot shift (6 bits)
//
// The tenants of a chunk with detached block allocators are an array indexed by the slot number. The address in the entry is where tenant 0
// would be if the array began at address 0 of the machine: then (user address >> slot shift) x tenant size + entry is the tenant, with no
// mask for the chunk. Everything else is made to look the same: a large run, a chunk of intrusive block allocators and "not ours" have the
// slot shift 63, which makes the slot number 0 for every address of a process. So the look-up has no special case: their owner word, which no thread
// cache equals, sends the caller to the slow path. Where pointers have 32 bits, programs have addresses with the highest bit set: there an
// entry says one less than the slot shift, the address is shifted by the one first, and 31 leaves nothing of it.
#pragma once

#include "block/owner_state.hpp"
#include "chunkmap/chunk_map.hpp"

namespace mpmm {

/// Tenants are aligned to this, and block allocators are a multiple of it long: it leaves the entry's low bits free.
inline constexpr std::size_t tenant_alignment = 128;

/// The tenant of every address that is not ours. Of 64 bits an address with the highest one set has the slot number 1 even with the shift
/// 63, and its tenant is one tenant's size further on: owner words all the way to there.
struct alignas(tenant_alignment) ForeignWord {
    std::byte bytes[tenant_alignment] = {static_cast<std::byte>(OwnerState::foreign)};
};
struct ForeignTenant {
    static constexpr std::size_t max_tenant_size = 2048;
    static inline constinit ForeignWord storage[max_tenant_size / tenant_alignment + 1]{};
};

template <class G>
struct TenantEntries {
    using Entry = std::byte*;
    /// A pointer's bits: a 32-bit geometry may be tried on a 64-bit machine.
    using Bits = std::conditional_t<G::pointer == 4, std::uint32_t, std::uintptr_t>;
    static constexpr unsigned no_slots = sizeof(Bits) * 8 - 1, first_shift = sizeof(Bits) == 4 ? 1 : 0;
    static constexpr std::uintptr_t shift_mask = no_slots, tag_mask = tenant_alignment - 1;
    static_assert(G::chunk_shift < no_slots);

    static constexpr Entry none() { return ForeignTenant::storage[0].bytes + no_slots; }
    /// A whole chunk, or a run of them, with one tenant.
    static Entry whole(const Tenant* tenant) { return reinterpret_cast<Entry>(reinterpret_cast<std::uintptr_t>(tenant) | no_slots); }
    /// A chunk of slots whose tenants begin at `first`, `tenant_size` apart.
    static Entry slots(const void* first, std::size_t tenant_size, const void* chunk, unsigned slot_shift) {
        const std::uintptr_t before = (reinterpret_cast<std::uintptr_t>(chunk) >> slot_shift) * tenant_size;
        return reinterpret_cast<Entry>((reinterpret_cast<std::uintptr_t>(first) - before) | (slot_shift - first_shift));
    }
    static bool is_whole(Entry entry) { return (reinterpret_cast<std::uintptr_t>(entry) & shift_mask) == no_slots; }
    /// The tenant of `address`, whose chunk has this entry. TenantSize is that of block allocators.
    template <std::size_t TenantSize>
    [[gnu::always_inline]] static Tenant* tenant(Entry entry, const void* address) {
        static_assert(TenantSize % tenant_alignment == 0 && TenantSize <= ForeignTenant::max_tenant_size);
        const auto bits = reinterpret_cast<std::uintptr_t>(entry);
        const std::uintptr_t slot = static_cast<Bits>(reinterpret_cast<std::uintptr_t>(address)) >> first_shift >> (bits & shift_mask);
        return reinterpret_cast<Tenant*>((bits + slot * TenantSize) & ~tag_mask);
    }
};

template <class G>
using TenantMap = ChunkMap<G, TenantEntries<G>>;

/// Where an intrusive block allocator's header lies in its slot: anywhere in the slot's first half, by the slot's number, so that the
/// headers of neighbouring slots fall into different cache sets. Odd factors visit every position.
inline std::uintptr_t intrusive_header(std::uintptr_t slot, unsigned slot_shift) {
    const std::uintptr_t colours = (std::uintptr_t{1} << (slot_shift - 1)) - tenant_alignment;
    return slot + ((slot >> slot_shift) * (5 * tenant_alignment) & colours);
}

}  // namespace mpmm
