// SPDX-License-Identifier: Apache-2.0
// Built twice: with 128-bit products and without. Divisions by the sizes of every class, and by every size of the smallest geometry.
#include "block/size_classes.hpp"
#include "geometries.hpp"

#include <gtest/gtest.h>

namespace mpmm {
namespace {

/// The first multiple whose quotient or exactness is wrong, or `end`. Between two multiples the quotient and the test for a remainder are
/// monotone in the offset, so the offsets beside each multiple speak for all.
std::uint64_t first_wrong(const Reciprocal& reciprocal, std::uint64_t size, std::uint64_t end) {
    for (std::uint64_t quotient = 0, start = 0; start < end; ++quotient, start += size) {
        const auto at = reciprocal.divide(start), behind = reciprocal.divide(start + 1), last = reciprocal.divide(start + size - 1);
        if (at.quotient != quotient || !at.exact || behind.quotient != quotient || behind.exact || last.quotient != quotient || last.exact)
            return start;
    }
    return end;
}

TEST(Division, OfEveryOffsetInEverySlot) {
    test::for_each_geometry([]<class G>() {
        using Classes = SizeClasses<G>;
        for (const auto& shape : Classes::shapes(0)) {
            const std::uint64_t slot = std::uint64_t{1} << shape.slot_shift;
            ASSERT_EQ(first_wrong(shape.reciprocal, shape.size, slot), slot) << G::page << ' ' << G::line << ' ' << shape.size;
            if (slot > 1u << 21) continue;
            std::uint64_t quotient = 0, rest = 0;
            for (std::uint64_t offset = 0; offset < slot; ++offset) {
                const auto found = shape.reciprocal.divide(offset);
                ASSERT_TRUE(found.quotient == quotient && found.exact == (rest == 0)) << shape.size << ' ' << offset;
                if (++rest == shape.size) ++quotient, rest = 0;
            }
        }
    });
}

TEST(Division, ByEverySizeOfTheUsualChunk) {
    using G = Geometry<4096, 64>;
    for (std::uint64_t size = 2; size <= G::chunk / 2; ++size) ASSERT_EQ(first_wrong(Reciprocal(size), size, G::chunk), G::chunk) << size;
}

}  // namespace
}  // namespace mpmm
