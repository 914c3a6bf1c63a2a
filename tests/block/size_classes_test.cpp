// SPDX-License-Identifier: Apache-2.0
#include "block/size_classes.hpp"
#include "configs.hpp"

namespace mpmm {
namespace {

template <class C>
class SizeClassesTest : public ::testing::Test {};
TYPED_TEST_SUITE(SizeClassesTest, test::Configs);

TYPED_TEST(SizeClassesTest, EverySizeGetsTheSmallestClassThatHoldsIt) {
    using Classes = SizeClasses<typename TypeParam::Geometry>;
    unsigned expected = 0;
    for (std::size_t size = 1; size <= Classes::max_size; size += size < 70000 ? 1 : 61) {
        while (Classes::size_of(expected) < size) ++expected;
        ASSERT_EQ(Classes::of(size), expected) << size;
        if (size > 128) ASSERT_LE((Classes::size_of(expected) - size) * 8, Classes::size_of(expected)) << size;
    }
    EXPECT_EQ(Classes::of(0), 0u);
    EXPECT_EQ(Classes::of(Classes::max_size), Classes::count - 1);
}

/// Every class, every offset of its slot: the quotient and the remainder test are those of a division.
TYPED_TEST(SizeClassesTest, ReciprocalIsADivision) {
    using G = typename TypeParam::Geometry;
    using Classes = SizeClasses<G>;
    for (unsigned index = 0; index < Classes::count; ++index) {
        const auto shape = Classes::shape(index, 0);
        const std::size_t slot = std::size_t{1} << shape.slot_shift;
        // Huge slots in full steps around every multiple; small ones byte by byte.
        const bool all = slot <= 1u << 18;
        for (std::size_t offset = 0; offset < slot; ++offset) {
            const auto [quotient, exact] = shape.reciprocal.divide(offset);
            ASSERT_EQ(quotient, offset / shape.size) << shape.size << ' ' << offset;
            ASSERT_EQ(exact, offset % shape.size == 0) << shape.size << ' ' << offset;
            ASSERT_LT(quotient, G::map_bits);
            if (!all && offset % shape.size == 2) offset += shape.size - 4;
        }
    }
}

TYPED_TEST(SizeClassesTest, ShapesKeepBlocksAligned) {
    using G = typename TypeParam::Geometry;
    using Classes = SizeClasses<G>;
    for (const auto& shape : Classes::shapes(TypeParam::intrusive_max)) {
        const std::size_t slot = std::size_t{1} << shape.slot_shift;
        ASSERT_LE(std::size_t{shape.blocks} * shape.size, slot);
        if (std::has_single_bit(std::size_t{shape.size})) ASSERT_LE(shape.size, slot);
        ASSERT_EQ(shape.intrusive, shape.size <= TypeParam::intrusive_max);
    }
}

}  // namespace
}  // namespace mpmm
