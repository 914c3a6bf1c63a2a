// SPDX-License-Identifier: Apache-2.0
// The chunk map of 64-bit machines: a digital tree (trie) of three levels over the bits of the chunk number.
//
//      address  | root bits | 8 bits | 8 bits | offset in chunk |
//                   |            |        |
//               root (static) → Mid[256] → Leaf[256] → entry
//
// An entry is a pointer-sized value of Entries; Entries::none() stands for "not ours". A missing Leaf is the shared leaf of none() entries,
// and a missing Mid one full of such leaves, so a look-up tests no pointer. Root slots hold a Mid's distance from that one: an untouched
// root, all zero, is empty.
//
// Readers take no lock and always finish in three loads. Nodes are never freed, so a reader cannot meet a dead one. Writers store entries
// with release, and readers load with acquire: who finds an entry sees the descriptor behind it. Creating a node takes the lock; entries of
// one chunk have one writer at a time, because a chunk has one owner.
#pragma once

#include "persistent/persistent.hpp"
#include "platform/geometry.hpp"
#include "platform/lock.hpp"

#include <algorithm>
#include <utility>

namespace mpmm {

template <class G, class Entries, unsigned AddressBits = address_bits>
class DigitalTree {
  public:
    using Entry = typename Entries::Entry;

    constexpr explicit DigitalTree(Persistent<G>& memory) : memory_(memory) {}

    /// The entry of the chunk `address` lies in, for any bit pattern whatever.
    [[gnu::always_inline]] Entry find(const void* address) const {
        const std::uintptr_t whole = reinterpret_cast<std::uintptr_t>(address) >> G::chunk_shift;
        if (whole >= chunk_count) [[unlikely]]
            return opaque(Entries::none());
        const std::uintptr_t number = opaque(whole);
        const Leaf* const leaf = mid_of(number)->leaves[static_cast<std::uint8_t>(number >> leaf_bits)].load(acquire);
        return leaf->entries[static_cast<std::uint8_t>(number)].load(acquire);
    }

    /// Makes room for `count` chunks from `address` on, so that set() cannot fail. False when out of memory or beyond the address bits.
    bool reserve(const void* address, std::size_t count) {
        const std::uintptr_t first = reinterpret_cast<std::uintptr_t>(address) >> G::chunk_shift;
        if (first >= chunk_count || count > chunk_count - first) return false;
        for (std::uintptr_t number = first; number < first + count; number = (number / leaf_size + 1) * leaf_size)
            if (!reserve_leaf(number)) return false;
        return true;
    }

    /// Changes the entry of one chunk that reserve() made room for.
    void set(const void* address, Entry entry) {
        const std::uintptr_t number = reinterpret_cast<std::uintptr_t>(address) >> G::chunk_shift;
        mid_of(number)->leaves[(number >> leaf_bits) % mid_size].load(acquire)->entries[number % leaf_size].store(entry, release);
    }

    /// Calls visit(chunk address, entry) for every entry that is not none().
    template <class Visit>
    void for_each(Visit visit) const {
        // relaxed: the caller knows of the entries he must see, so their set() happened before this, and reserve() before that.
        const std::uintptr_t first = root_size - before_first_root_.load(relaxed), end = end_root_.load(relaxed);
        for (std::uintptr_t number = first * root_span; number < end * root_span; number += leaf_size) {
            const Mid* const mid = mid_of(number);
            if (mid == &none_mid_) {
                number += root_span - leaf_size;
                continue;
            }
            const Leaf* const leaf = mid->leaves[(number >> leaf_bits) % mid_size].load(acquire);
            if (leaf == &none_leaf_) continue;
            for (std::uintptr_t i = 0; i < leaf_size; ++i)
                if (const Entry entry = leaf->entries[i].load(acquire); entry != Entries::none())
                    visit(reinterpret_cast<std::byte*>((number + i) << G::chunk_shift), entry);
        }
    }

    /// The nearest chunk at or below `address` with an entry that is not none(), nullptr when there is none. Quick when that is near.
    std::byte* find_back(const void* address, Entry& entry) const {
        std::uintptr_t number = (reinterpret_cast<std::uintptr_t>(address) >> G::chunk_shift) + 1;
        if (number > chunk_count) number = chunk_count;
        while (number-- != 0) {
            const Mid* const mid = mid_of(number);
            const Leaf* const leaf = mid->leaves[(number >> leaf_bits) % mid_size].load(acquire);
            if (leaf == &none_leaf_) {
                number &= ~((mid == &none_mid_ ? root_span : leaf_size) - 1);
                continue;
            }
            entry = leaf->entries[number % leaf_size].load(acquire);
            if (entry != Entries::none()) return reinterpret_cast<std::byte*>(number << G::chunk_shift);
        }
        return nullptr;
    }

    Mutex& lock() { return lock_; }

  private:
    static constexpr unsigned leaf_bits = 8, mid_bits = 8;
    static constexpr std::uintptr_t leaf_size = 1u << leaf_bits, mid_size = 1u << mid_bits;
    static constexpr std::uintptr_t chunk_count = std::uintptr_t{1} << (AddressBits - G::chunk_shift);
    static constexpr std::uintptr_t root_span = leaf_size * mid_size, root_size = chunk_count / root_span;
    static_assert(root_size >= 1);

    struct Leaf {
        Atomic<Entry> entries[leaf_size];
        constexpr Leaf() : Leaf(std::make_index_sequence<leaf_size>{}) {}
        template <std::size_t... I>
        constexpr explicit Leaf(std::index_sequence<I...>) : entries{((void)I, Entries::none())...} {}
    };
    static inline constinit Leaf none_leaf_;
    struct Mid {
        Atomic<Leaf*> leaves[mid_size];
        constexpr Mid() : Mid(std::make_index_sequence<mid_size>{}) {}
        template <std::size_t... I>
        constexpr explicit Mid(std::index_sequence<I...>) : leaves{((void)I, &none_leaf_)...} {}
    };

    /// The Mid over chunk `number`, none_mid_ when there is none yet.
    [[gnu::always_inline]] Mid* mid_of(std::uintptr_t number) const {
        const auto* const self = opaque(this);
        const std::uintptr_t distance = self->root_[number >> (mid_bits + leaf_bits)].load(acquire);
        return &opaque(reinterpret_cast<DigitalTree*>(reinterpret_cast<std::uintptr_t>(self) + distance))->none_mid_;
    }
    [[gnu::noinline]] bool reserve_leaf(std::uintptr_t number) {
        const Guard guard(lock_);
        Mid* mid = mid_of(number);
        if (mid == &none_mid_) {
            mid = memory_.template create<Mid>();
            if (mid == nullptr) return false;
            const std::uintptr_t distance = reinterpret_cast<std::uintptr_t>(mid) - reinterpret_cast<std::uintptr_t>(&none_mid_);
            const std::uintptr_t root = number / root_span;
            before_first_root_.store(std::max(before_first_root_.load(relaxed), root_size - root), relaxed);
            end_root_.store(std::max(end_root_.load(relaxed), root + 1), relaxed);
            root_[root].store(distance, release);
        }
        Atomic<Leaf*>& place = mid->leaves[(number >> leaf_bits) % mid_size];
        if (place.load(relaxed) != &none_leaf_) return true;
        Leaf* const leaf = memory_.template create<Leaf>();
        if (leaf == nullptr) return false;
        place.store(leaf, release);
        return true;
    }

    Atomic<std::uintptr_t> root_[root_size]{};
    Mid none_mid_;
    /// All used roots lie between the two: root_size less the first of them, so that an untouched tree is all zero, and the end.
    Atomic<std::uintptr_t> before_first_root_{0}, end_root_{0};
    Mutex lock_;
    Persistent<G>& memory_;
};

}  // namespace mpmm
