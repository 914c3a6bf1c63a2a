// SPDX-License-Identifier: Apache-2.0
// The chunk map of 32-bit machines: one array with an entry per chunk of the address space. Same contract as DigitalTree. An empty slot
// holds a null entry, read as Entries::none(), so the array needs no initialisation and untouched parts of it cost nothing.
#pragma once

#include "persistent/persistent.hpp"
#include "platform/lock.hpp"

namespace mpmm {

template <class G, class Entries, unsigned AddressBits = 32>
class FlatMap {
  public:
    using Entry = typename Entries::Entry;

    constexpr explicit FlatMap(Persistent<G>&) {}

    [[gnu::always_inline]] Entry find(const void* address) const {
        const auto number = static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(address)) >> G::chunk_shift;
        if (number >= chunk_count) [[unlikely]]
            return Entries::none();
        const Entry entry = entries_[number].load(acquire);
        return entry == Entry{} ? Entries::none() : entry;
    }
    bool reserve(const void* address, std::size_t count) {
        const auto first = static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(address)) >> G::chunk_shift;
        return first < chunk_count && count <= chunk_count - first;
    }
    void set(const void* address, Entry entry) {
        entries_[reinterpret_cast<std::uintptr_t>(address) >> G::chunk_shift].store(entry, release);
    }
    template <class Visit>
    void for_each(Visit visit) const {
        for (std::size_t i = 0; i < chunk_count; ++i)
            if (const Entry entry = entries_[i].load(acquire); entry != Entry{} && entry != Entries::none())
                visit(reinterpret_cast<std::byte*>(static_cast<std::uintptr_t>(i) << G::chunk_shift), entry);
    }
    std::byte* find_back(const void* address, Entry& entry) const {
        auto number = (static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(address)) >> G::chunk_shift) + 1;
        if (number > chunk_count) number = chunk_count;
        while (number-- != 0) {
            entry = entries_[number].load(acquire);
            if (entry != Entry{} && entry != Entries::none())
                return reinterpret_cast<std::byte*>(static_cast<std::uintptr_t>(number) << G::chunk_shift);
        }
        return nullptr;
    }
    Mutex& lock() { return lock_; }

  private:
    static constexpr std::uint64_t chunk_count = std::uint64_t{1} << (AddressBits - G::chunk_shift);

    Mutex lock_;
    Atomic<Entry> entries_[chunk_count]{};
};

}  // namespace mpmm
