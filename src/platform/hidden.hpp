// SPDX-License-Identifier: Apache-2.0
// Memory in which a check of the heap works: stacks, tables, copies. What lies there must not count as the program's use of a block, so
// it is named here and roots.cpp leaves it out. Used by one check at a time, which the lock in stop_world.cpp sees to.
#pragma once

#include "platform/os.hpp"

#include <cstddef>
#include <cstdint>

namespace mpmm::hidden {

struct Range {
    std::uintptr_t begin = 0, end = 0;
};

inline constexpr std::size_t max_ranges = 16;
inline constinit Range ranges[max_ranges];

/// False when the table is full.
inline bool add(const void* begin, std::size_t size) {
    const auto address = reinterpret_cast<std::uintptr_t>(begin);
    for (Range& range : ranges)
        if (range.end == 0) {
            range = {address, address + size};
            return true;
        }
    return false;
}

inline void remove(const void* begin) {
    for (Range& range : ranges)
        if (range.end != 0 && range.begin == reinterpret_cast<std::uintptr_t>(begin)) range = {};
}

/// Whole pages that are hidden while they exist. Empty when the system refused.
class Memory {
  public:
    Memory() = default;
    explicit Memory(std::size_t size) { get(size); }
    ~Memory() { give_back(); }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;

    bool get(std::size_t size) {
        give_back();
        void* const memory = os::map(size, nullptr);
        if (memory == nullptr) return false;
        if (!add(memory, size)) {
            os::unmap(memory, size);
            return false;
        }
        data_ = memory;
        size_ = size;
        return true;
    }
    void give_back() {
        if (data_ == nullptr) return;
        // The other order would show the pages to a check for a moment; there is none now, but nothing is gained by it either.
        os::unmap(data_, size_);
        remove(data_);
        data_ = nullptr;
        size_ = 0;
    }
    void swap(Memory& other) {
        void* const data = data_;
        const std::size_t size = size_;
        data_ = other.data_;
        size_ = other.size_;
        other.data_ = data;
        other.size_ = size;
    }
    template <class T>
    T* as() const {
        return static_cast<T*>(data_);
    }
    std::size_t size() const { return size_; }

  private:
    void* data_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace mpmm::hidden
