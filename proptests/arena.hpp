// SPDX-License-Identifier: Apache-2.0
// A backend over one stretch of addresses: always the lowest that fits, so that a case meets the same addresses each time it runs. It keeps
// the contract and no more, refuses what it is told to, and notes what the allocator must not do.
#pragma once

#include "mpmm/mpmm.h"
#include "platform/bits.hpp"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <map>
#include <new>
#include <string>
#include <sys/mman.h>

namespace mpmm::test {

/// Calls visit(byte) at both ends of the memory and of pieces of it.
template <class Visit>
void for_some_bytes(std::byte* memory, std::size_t size, Visit visit) {
    constexpr std::size_t piece = 64 * 4096;
    for (std::size_t at = 0; at < size; at += piece) {
        visit(memory[at]);
        visit(memory[std::min(at + piece, size) - 1]);
    }
}

class Arena {
  public:
    static constexpr unsigned manner_count = 16, call_count = 4;
    enum Call : unsigned { allocating, deallocating, purging, resizing };

    /// The bits say what this backend does beyond the necessary.
    explicit Arena(unsigned manners) : manners_(manners), begin_(memory()) {}
    ~Arena() { clear(begin_, size); }
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    /// The next `times` calls of this kind fail.
    void refuse(unsigned call, unsigned times) { refuse_[call] = times; }
    void refuse_nothing() {
        for (unsigned& left : refuse_) left = 0;
    }
    /// Calls that failed so far, for whatever reason.
    unsigned refusals() const { return refusals_; }
    const std::string& misuse() const { return misuse_; }
    /// Whether all of it was given in one allocation.
    bool holds(const std::byte* address, std::size_t bytes) const {
        const auto after = taken_.upper_bound(address);
        return after != taken_.begin() && address + bytes <= std::prev(after)->first + std::prev(after)->second;
    }
    mpmm_backend callbacks() {
        mpmm_backend result{};
        result.struct_size = sizeof result;
        result.context = this;
        result.flags = (does(zeroes) ? MPMM_BACKEND_ZEROED : 0u) | (does(purges_to_zero) ? MPMM_BACKEND_PURGE_ZEROES : 0u);
        result.allocate = [](void* self, std::size_t bytes, std::size_t alignment) {
            return static_cast<Arena*>(self)->allocate(bytes, alignment);
        };
        result.deallocate = [](void* self, void* address, std::size_t bytes) {
            return static_cast<Arena*>(self)->deallocate(static_cast<std::byte*>(address), bytes);
        };
        result.purge = [](void* self, void* address, std::size_t bytes) {
            return static_cast<Arena*>(self)->purge(static_cast<std::byte*>(address), bytes);
        };
        result.resize = [](void* self, void* address, std::size_t old_size, std::size_t new_size) {
            return static_cast<Arena*>(self)->resize(static_cast<std::byte*>(address), old_size, new_size);
        };
        return result;
    }

  private:
    static constexpr std::size_t size = std::size_t{2} << 30, widest_alignment = std::size_t{64} << 20;
    enum Manner : unsigned { zeroes = 1, purges_to_zero = 2, purges = 4, resizes = 8 };

    bool does(Manner manner) const { return (manners_ & manner) != 0; }
    static std::byte* memory() {
        static std::byte* const all = [] {
            void* const mapped =
                ::mmap(nullptr, size + widest_alignment, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
            if (mapped == MAP_FAILED) throw std::bad_alloc();
            return reinterpret_cast<std::byte*>(align_up(reinterpret_cast<std::uintptr_t>(mapped), widest_alignment));
        }();
        return all;
    }
    bool refused(Call call) {
        if (refuse_[call] == 0) return false;
        --refuse_[call];
        ++refusals_;
        return true;
    }
    int refused_for_good() {
        ++refusals_;
        return -1;
    }
    void check(const char* what, const std::byte* address, std::size_t bytes) {
        if (bytes == 0 || !is_aligned(bytes, 4096) || !is_aligned(reinterpret_cast<std::uintptr_t>(address), 4096) ||
            !holds(address, bytes))
            misuse_ = what;
    }
    static void spoil(std::byte* address, std::size_t bytes) {
        for_some_bytes(address, bytes, [](std::byte& byte) { byte = std::byte{0xDB}; });
    }
    static void clear(std::byte* address, std::size_t bytes) { ::madvise(address, bytes, MADV_DONTNEED); }

    void* allocate(std::size_t bytes, std::size_t alignment) {
        if (refused(allocating)) return nullptr;
        std::byte* place = begin_;
        for (const auto& [address, length] : taken_) {
            if (place + bytes <= address) break;
            place = reinterpret_cast<std::byte*>(align_up(reinterpret_cast<std::uintptr_t>(address + length), alignment));
        }
        if (place + bytes > begin_ + size) {
            refused_for_good();
            return nullptr;
        }
        taken_[place] = bytes;
        does(zeroes) ? clear(place, bytes) : spoil(place, bytes);
        return place;
    }
    int deallocate(std::byte* address, std::size_t bytes) {
        check("gave back what it had not", address, bytes);
        if (refused(deallocating)) return -1;
        if (!misuse_.empty()) return 0;
        const auto holder = std::prev(taken_.upper_bound(address));
        std::byte *const begin = holder->first, *const end = begin + holder->second;
        taken_.erase(holder);
        if (begin != address) taken_[begin] = static_cast<std::size_t>(address - begin);
        if (address + bytes != end) taken_[address + bytes] = static_cast<std::size_t>(end - address) - bytes;
        return 0;
    }
    int purge(std::byte* address, std::size_t bytes) {
        check("purged what it had not", address, bytes);
        if (refused(purging)) return -1;
        if (!does(purges)) return refused_for_good();
        does(purges_to_zero) ? clear(address, bytes) : spoil(address, bytes);
        return 0;
    }
    int resize(std::byte* address, std::size_t old_size, std::size_t new_size) {
        check("resized what it had not", address, old_size);
        if (refused(resizing)) return -1;
        const auto after = taken_.upper_bound(address);
        std::byte* const limit = after == taken_.end() ? begin_ + size : after->first;
        if (!does(resizes) || new_size > static_cast<std::size_t>(limit - address)) return refused_for_good();
        taken_[address] = new_size;
        return 0;
    }

    const unsigned manners_;
    std::byte* const begin_;
    std::map<std::byte*, std::size_t, std::less<>> taken_;
    unsigned refuse_[call_count]{};
    unsigned refusals_ = 0;
    std::string misuse_;
};

}  // namespace mpmm::test
