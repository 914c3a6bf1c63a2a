// SPDX-License-Identifier: Apache-2.0
// Memory that lives until shutdown: the allocator's own metadata, and what the user asks for with mpmm_persistent_alloc().
//
// A bump pointer into blocks from the backend; nothing is ever returned, so pointers into it never dangle. Blocks are longer than most
// needs, because untouched pages cost address space only. Thread-safe by one lock.
#pragma once

#include "backend/backend.hpp"
#include "platform/bits.hpp"
#include "platform/lock.hpp"

#include <cstring>
#include <new>

namespace mpmm {

template <class G>
class Persistent {
  public:
    constexpr explicit Persistent(Backend& backend) : backend_(backend) {}

    /// `size` zeroed bytes aligned to `alignment` (a power of two up to the page), or nullptr.
    void* allocate(std::size_t size, std::size_t alignment) {
        if (size > PTRDIFF_MAX - block_size) return nullptr;
        const Guard guard(lock_);
        std::uintptr_t place = align_up(cursor_, alignment);
        if (cursor_ == 0 || place + size > end_) {
            // Each block begins with its record: a user's backend may hand out the same memory twice, and leak checks leave our memory out.
            const std::size_t header = align_up(sizeof(Range), alignment), need = header + size;
            const std::size_t page = os::whole_page<G>(), take = align_up(need > block_size / 4 ? need : block_size, page);
            void* const block = backend_.allocate(take, page);
            if (block == nullptr) return nullptr;
            if (!backend_.fresh_is_zero()) std::memset(block, 0, take);
            // release: for_each_range() looks without the lock, which orders everything else here.
            ranges_.store(::new (block) Range{ranges_.load(relaxed), take}, release);
            place = reinterpret_cast<std::uintptr_t>(block) + header;
            used_.fetch_add(size, relaxed);
            // A big request keeps the current block for the small ones to come, unless the rest of its own is longer.
            const std::uintptr_t end = reinterpret_cast<std::uintptr_t>(block) + take;
            if (end - (place + size) > end_ - cursor_) {
                cursor_ = place + size;
                end_ = end;
            }
            return reinterpret_cast<void*>(place);
        }
        used_.fetch_add(size, relaxed);
        cursor_ = place + size;
        return reinterpret_cast<void*>(place);
    }

    /// A value-initialised T.
    template <class T, class... Args>
    T* create(Args&&... args) {
        void* const memory = allocate(sizeof(T), alignof(T));
        return memory == nullptr ? nullptr : ::new (memory) T(static_cast<Args&&>(args)...);
    }

    /// Whether the memory lies over some of this allocator's own. Takes no lock: ranges are only added.
    bool overlaps(const void* memory, std::size_t size) const {
        const auto start = reinterpret_cast<std::uintptr_t>(memory);
        bool found = false;
        for_each_range([&](std::uintptr_t begin, std::uintptr_t end) { found = found || (start < end && begin < start + size); });
        return found;
    }
    /// Calls visit(begin, end) for all memory this allocator got. Takes no lock.
    template <class Visit>
    void for_each_range(Visit visit) const {
        // acquire: a range is complete when it can be seen.
        for (const Range* range = ranges_.load(acquire); range != nullptr; range = range->next) {
            const auto begin = reinterpret_cast<std::uintptr_t>(range);
            visit(begin, begin + range->size);
        }
    }
    std::size_t used() const { return used_.load(relaxed); }
    Mutex& lock() { return lock_; }

  private:
    static constexpr std::size_t block_size = 64 * G::page;
    struct Range {
        Range* next;
        std::size_t size;
    };

    Backend& backend_;
    Mutex lock_;
    Atomic<Range*> ranges_{nullptr};
    std::uintptr_t cursor_ = 0, end_ = 0;
    Atomic<std::size_t> used_{0};
};

}  // namespace mpmm
