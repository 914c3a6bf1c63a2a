// SPDX-License-Identifier: Apache-2.0
// The chunk map of 32-bit machines: one array with an entry per chunk of the address space. Same contract as DigitalTree. Entries are kept
// as their distance from Entries::none(), so the array needs no initialisation and untouched parts of it cost nothing.
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
        const std::uintptr_t number = reinterpret_cast<std::uintptr_t>(address) >> G::chunk_shift;
        // Never where addresses have no more bits.
        if (number >= chunk_count) [[unlikely]]
            return Entries::none();
        return entry(number);
    }
    bool reserve(const void* address, std::size_t count) {
        const std::uintptr_t first = reinterpret_cast<std::uintptr_t>(address) >> G::chunk_shift;
        return first < chunk_count && count <= chunk_count - first;
    }
    void set(const void* address, Entry entry) {
        distances_[reinterpret_cast<std::uintptr_t>(address) >> G::chunk_shift].store(reinterpret_cast<std::uintptr_t>(entry) - none(),
                                                                                      release);
    }
    template <class Visit>
    void for_each(Visit visit) const {
        for (std::uintptr_t i = 0; i < chunk_count; ++i)
            if (const Entry found = entry(i); found != Entries::none()) visit(reinterpret_cast<std::byte*>(i << G::chunk_shift), found);
    }
    std::byte* find_back(const void* address, Entry& found) const {
        std::uintptr_t number = (reinterpret_cast<std::uintptr_t>(address) >> G::chunk_shift) + 1;
        if (number > chunk_count) number = chunk_count;
        while (number-- != 0) {
            found = entry(number);
            if (found != Entries::none()) return reinterpret_cast<std::byte*>(number << G::chunk_shift);
        }
        return nullptr;
    }
    Mutex& lock() { return lock_; }

  private:
    static constexpr std::uintptr_t chunk_count = std::uintptr_t{1} << (AddressBits - G::chunk_shift);

    static std::uintptr_t none() { return reinterpret_cast<std::uintptr_t>(Entries::none()); }
    [[gnu::always_inline]] Entry entry(std::uintptr_t number) const {
        return reinterpret_cast<Entry>(none() + distances_[number].load(acquire));
    }

    Mutex lock_;
    Atomic<std::uintptr_t> distances_[chunk_count]{};
};

}  // namespace mpmm
