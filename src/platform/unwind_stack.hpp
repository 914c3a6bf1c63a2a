// SPDX-License-Identifier: Apache-2.0
// Reads of a stack that cannot fault. A read inside the range known to be mapped costs one comparison; elsewhere the kernel is asked, page by
// page. The range of the thread's own stack is remembered as long as the thread lives, because so does the stack; that of other stacks
// (signal stacks, fibers) only for one capture: they can be unmapped at any time without our knowing.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace mpmm::unwind {

class StackReader {
  public:
    /// For a walk that begins at stack pointer `sp`.
    explicit StackReader(std::uintptr_t sp);

    /// The word at `address`; false when it is not mapped readable.
    [[gnu::always_inline]] bool read(std::uintptr_t address, std::uintptr_t& value) {
        if (address - low_ >= span_) [[unlikely]]
            if (!extend(address)) return false;
        value = load(address);
        return true;
    }

    /// The word at an address known to be readable. In assembly, because sanitizers have opinions about reading other functions' frames, and compilers about types.
    [[gnu::always_inline]] static std::uintptr_t load(std::uintptr_t address) {
        std::uintptr_t value = 0;
#if defined(__x86_64__)
        asm volatile("movq (%1), %0" : "=r"(value) : "r"(address) : "memory");
#elif defined(__i386__)
        asm volatile("movl (%1), %0" : "=r"(value) : "r"(address) : "memory");
#elif defined(__aarch64__)
        asm volatile("ldr %0, [%1]" : "=r"(value) : "r"(address) : "memory");
#else
        __builtin_memcpy(&value, reinterpret_cast<const void*>(address), sizeof value);
#endif
        return value;
    }

    /// Whether these bytes can be read at `address` and are `expected`.
    template <std::size_t Size>
    static bool holds(std::uintptr_t address, const unsigned char (&expected)[Size]) {
        constexpr std::size_t word = sizeof(std::uintptr_t), last = Size < word ? 0 : Size - word;
        if (!readable(address, std::max(Size, word))) return false;
        for (std::size_t i = 0;; i = std::min(i + word, last)) {
            const std::uintptr_t found = load(address + i);
            if (std::memcmp(&found, expected + i, std::min(Size, word)) != 0) return false;
            if (i == last) return true;
        }
    }

    /// Asks the kernel whether all of [address, address + size) can be read.
    static bool readable(std::uintptr_t address, std::size_t size);

  private:
    bool extend(std::uintptr_t address);
    bool extend_own(std::uintptr_t page);
    void aim(std::uintptr_t low, std::uintptr_t high) {
        low_ = low;
        span_ = high - low - (sizeof(std::uintptr_t) - 1);
    }
    std::uintptr_t high() const { return span_ == 0 ? low_ : low_ + span_ + (sizeof(std::uintptr_t) - 1); }

    // A word may begin in [low_, low_ + span_).
    std::uintptr_t low_ = 0, span_ = 0;
};

}  // namespace mpmm::unwind
