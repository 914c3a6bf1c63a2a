// SPDX-License-Identifier: Apache-2.0
// A stack for a check of the heap that grows in pages of its own, hidden from the roots. Its first part lies in itself, so that it works,
// if only with a few entries, when there is no memory at all.
#pragma once

#include "platform/hidden.hpp"

#include <cstddef>
#include <cstring>
#include <type_traits>

namespace mpmm {

template <class T>
class WorkStack {
    static_assert(std::is_trivially_copyable_v<T>);

  public:
    bool empty() const { return size_ == 0; }
    std::size_t size() const { return size_; }
    T& operator[](std::size_t index) { return data()[index]; }
    T pop() { return data()[--size_]; }
    /// False when it is full and cannot grow.
    bool push(const T& value) {
        if (size_ == capacity_ && !grow()) return false;
        data()[size_++] = value;
        return true;
    }
    void clear() { size_ = 0; }
    /// For tests: no more memory than it has.
    void forbid_growth() { may_grow_ = false; }

  private:
    T* data() { return memory_.size() != 0 ? memory_.template as<T>() : first_; }
    bool grow() {
        hidden::Memory larger;
        const std::size_t bytes = memory_.size() != 0 ? memory_.size() * 2 : least_size_;
        if (!may_grow_ || !larger.get(bytes)) return false;
        std::memcpy(larger.template as<void>(), data(), size_ * sizeof(T));
        memory_.swap(larger);
        capacity_ = bytes / sizeof(T);
        return true;
    }

    static constexpr std::size_t least_size_ = std::size_t{64} << 10;
    static constexpr std::size_t first_count_ = 64;
    static_assert(first_count_ * sizeof(T) < least_size_);

    T first_[first_count_];
    hidden::Memory memory_;
    std::size_t size_ = 0, capacity_ = first_count_;
    bool may_grow_ = true;
};

}  // namespace mpmm
