// SPDX-License-Identifier: Apache-2.0
// Division of an offset by a block size without a division, with the test for a remainder for free.
//
// With m = ceil(2^64 / d) = (2^64 + e) / d, 0 <= e < d, and n = q d + r:   n m = q 2^64 + (q e + r m).
// As long as q e < m and q e + (d - 1) m < 2^64, the high half is q, and the low half is below m exactly when r = 0. Offsets stay below a
// chunk, so q e < n <= 2^31 and m >= 2^64 / 2^31: both hold. (D. Lemire, O. Kaser, N. Kurz, "Faster remainder by direct computation", 2019.)
// tests/block/size_classes_test.cpp tries every offset of every size class.
#pragma once

#include "platform/compiler.hpp"

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace mpmm {

class Reciprocal {
  public:
    constexpr Reciprocal() = default;

    struct Result {
        std::size_t quotient;
        bool exact;
    };

#if defined(__SIZEOF_INT128__) || (defined(MPMM_MSVC) && defined(_M_X64))
    constexpr explicit Reciprocal(std::uint64_t divisor) : factor_(~std::uint64_t{0} / divisor + 1) {}

    [[gnu::always_inline]] constexpr Result divide(std::uint64_t offset) const {
        std::uint64_t low = 0;
        const std::uint64_t high = multiply(offset, factor_, low);
        return {high, low < factor_};
    }

  private:
    /// The high half of the product. The assembler form saves the register moves compilers put around a 128-bit value.
    [[gnu::always_inline]] static constexpr std::uint64_t multiply(std::uint64_t a, std::uint64_t b, std::uint64_t& low) {
#if defined(MPMM_MSVC)
        if (!std::is_constant_evaluated()) {
            std::uint64_t high = 0;
            low = _umul128(a, b, &high);
            return high;
        }
        // By halves of the factor; an offset is shorter than 32 bits.
        low = a * b;
        return (a * (b >> 32) + (a * (b & 0xFFFFFFFFu) >> 32)) >> 32;
#else
#if defined(__x86_64__)
        if (!std::is_constant_evaluated()) {
            std::uint64_t high = 0;
            asm("mulq %3" : "=a"(low), "=d"(high) : "a"(a), "rm"(b) : "cc");
            return high;
        }
#endif
        const auto product = static_cast<unsigned __int128>(a) * b;
        low = static_cast<std::uint64_t>(product);
        return static_cast<std::uint64_t>(product >> 64);
#endif
    }

    std::uint64_t factor_ = 0;
#else
    // Without a 64 x 64 bit product: a 32-bit division, offsets and sizes being below a chunk.
    constexpr explicit Reciprocal(std::uint64_t divisor) : divisor_(static_cast<std::uint32_t>(divisor)) {}

    constexpr Result divide(std::uint64_t offset) const {
        const auto small = static_cast<std::uint32_t>(offset);
        const std::uint32_t quotient = small / divisor_;
        return {quotient, quotient * divisor_ == small};
    }

  private:
    std::uint32_t divisor_ = 1;
#endif
};

}  // namespace mpmm
