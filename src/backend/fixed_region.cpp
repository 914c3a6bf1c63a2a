// SPDX-License-Identifier: Apache-2.0
#include "backend/fixed_region.hpp"

#include "platform/bits.hpp"
#include "platform/lock.hpp"

#include <cstring>
#include <new>

namespace mpmm {
namespace {

class FixedRegion {
  public:
    FixedRegion(std::uintptr_t first_page, std::size_t pages, std::size_t page) : first_(first_page), pages_(pages), page_(page) {
        std::memset(bits(), 0, bits_size(pages));
    }

    static std::size_t bits_size(std::size_t pages) { return (pages + 63) / 64 * 8; }

    void* allocate(std::size_t size, std::size_t alignment) {
        const std::size_t need = size / page_;
        if (need == 0 || need > pages_) return nullptr;
        const Guard guard(lock_);
        const std::size_t found = alignment <= page_ ? lowest(need) : highest(need, alignment);
        if (found == none) return nullptr;
        mark(found, need, true);
        return reinterpret_cast<void*>(first_ + found * page_);
    }

    int deallocate(void* address, std::size_t size) {
        const auto start = reinterpret_cast<std::uintptr_t>(address);
        if (start < first_ || !is_aligned(start - first_, page_) || size % page_ != 0) return -1;
        const std::size_t first = (start - first_) / page_, count = size / page_;
        if (first + count > pages_) return -1;
        const Guard guard(lock_);
        if (!whole(first, count, true)) return -1;
        mark(first, count, false);
        return 0;
    }

  private:
    static constexpr std::size_t none = ~std::size_t{0};

    std::uint64_t* bits() { return reinterpret_cast<std::uint64_t*>(this + 1); }
    bool taken(std::size_t index) { return (bits()[index / 64] >> (index % 64) & 1) != 0; }
    void mark(std::size_t first, std::size_t count, bool take) {
        for (std::size_t i = first; i < first + count; ++i) {
            const std::uint64_t bit = std::uint64_t{1} << (i % 64);
            bits()[i / 64] = take ? bits()[i / 64] | bit : bits()[i / 64] & ~bit;
        }
    }
    bool whole(std::size_t first, std::size_t count, bool take) {
        for (std::size_t i = first; i < first + count; ++i)
            if (taken(i) != take) return false;
        return true;
    }
    std::size_t lowest(std::size_t need) {
        for (std::size_t i = 0, run = 0; i < pages_; ++i) {
            run = taken(i) ? 0 : run + 1;
            if (run == need) return i + 1 - need;
        }
        return none;
    }
    std::size_t highest(std::size_t need, std::size_t alignment) {
        std::uintptr_t place = align_down(first_ + (pages_ - need) * page_, alignment);
        for (; place >= first_; place -= alignment) {
            const std::size_t index = (place - first_) / page_;
            if (whole(index, need, false)) return index;
            if (place < alignment) break;
        }
        return none;
    }

    std::uintptr_t first_;
    std::size_t pages_, page_;
    Mutex lock_;
};

}  // namespace

bool make_fixed_region(mpmm_backend& backend, void* memory, std::size_t size, std::size_t page, std::size_t chunk) {
    const auto start = reinterpret_cast<std::uintptr_t>(memory);
    if (memory == nullptr || start + size < start) return false;
    const std::uintptr_t header = align_up(start, alignof(FixedRegion)), end = start + size;
    if (header < start || header + sizeof(FixedRegion) + FixedRegion::bits_size(size / page) >= end) return false;
    const std::uintptr_t first = align_up(header + sizeof(FixedRegion) + FixedRegion::bits_size(size / page), page);
    const std::uintptr_t aligned = align_up(first + page, chunk);
    if (first < header || aligned < first || aligned + chunk < aligned || aligned + chunk > end) return false;
    auto* const region = ::new (reinterpret_cast<void*>(header)) FixedRegion(first, (end - first) / page, page);
    backend = mpmm_backend{};
    backend.struct_size = sizeof backend;
    backend.context = region;
    backend.allocate = [](void* self, std::size_t bytes, std::size_t alignment) {
        return static_cast<FixedRegion*>(self)->allocate(bytes, alignment);
    };
    backend.deallocate = [](void* self, void* address, std::size_t bytes) {
        return static_cast<FixedRegion*>(self)->deallocate(address, bytes);
    };
    return true;
}

}  // namespace mpmm
