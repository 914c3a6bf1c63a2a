// SPDX-License-Identifier: Apache-2.0
// Sizes: classes ascend, hold what maps to them and waste little; the reciprocal divides; the API's view of them is consistent.
#include "block/size_classes.hpp"
#include "configs.hpp"
#include "mpmm/mpmm.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <vector>

namespace mpmm {
namespace {

template <class C>
class SizeClassesProperty : public ::testing::Test {};
TYPED_TEST_SUITE(SizeClassesProperty, test::Configs);

/// Sizes of every magnitude up to `most`.
rc::Gen<std::size_t> any_size(std::size_t most) {
    return rc::gen::map(rc::gen::pair(rc::gen::inRange(0, 64), rc::gen::arbitrary<std::uint64_t>()),
                        [most](const auto& parts) { return static_cast<std::size_t>(parts.second >> parts.first) % (most + 1); });
}

TYPED_TEST(SizeClassesProperty, ClassesAreMonotoneAndTight) {
    using Classes = SizeClasses<typename TypeParam::Geometry>;
    EXPECT_TRUE(rc::check("classes are monotone and tight", [] {
        const std::size_t size = *any_size(Classes::max_size), other = *any_size(Classes::max_size);
        const unsigned index = Classes::of(size);
        RC_ASSERT(index < Classes::count);
        RC_ASSERT(Classes::size_of(index) >= size);
        if (index != 0) RC_ASSERT(Classes::size_of(index - 1) < size);
        RC_ASSERT(Classes::of(Classes::size_of(index)) == index);
        RC_ASSERT((size <= other) <= (index <= Classes::of(other)));
        const std::size_t waste = Classes::size_of(index) - size;
        RC_ASSERT((size > 128 ? waste * 8 <= Classes::size_of(index) : waste <= (size > 8 ? 15u : 8u)));
    }));
}

TYPED_TEST(SizeClassesProperty, ReciprocalDivides) {
    using G = typename TypeParam::Geometry;
    using Classes = SizeClasses<G>;
    EXPECT_TRUE(rc::check("the reciprocal divides", [] {
        const std::size_t size = Classes::size_of(*rc::gen::inRange(0u, Classes::count));
        const std::size_t offset = *rc::gen::oneOf(any_size(G::chunk - 1),
                                                   rc::gen::map(any_size(G::chunk / size - 1), [size](std::size_t n) { return n * size; }));
        const auto [quotient, exact] = Reciprocal(size).divide(offset);
        RC_ASSERT(quotient == offset / size);
        RC_ASSERT(exact == (offset % size == 0));
    }));
}

/// Whatever the limit of intrusive ones: blocks fit their slot and one bitmap, fill its words where they can, and share at most 64 pages.
TYPED_TEST(SizeClassesProperty, ShapesFit) {
    using G = typename TypeParam::Geometry;
    using Classes = SizeClasses<G>;
    EXPECT_TRUE(rc::check("shapes fit", [] {
        const unsigned index = *rc::gen::inRange(0u, Classes::count);
        const std::size_t intrusive_max = *any_size(G::page), size = Classes::size_of(index);
        const auto shape = Classes::shape(index, intrusive_max);
        const std::size_t slot = std::size_t{1} << shape.slot_shift, used = shape.blocks * size;
        RC_ASSERT(shape.size == size);
        RC_ASSERT(shape.intrusive == (size <= intrusive_max));
        RC_ASSERT(shape.blocks != 0);
        RC_ASSERT(used <= slot);
        RC_ASSERT(slot <= G::chunk);
        RC_ASSERT(slot / size <= G::map_bits);
        RC_ASSERT((64 * size > G::chunk || shape.blocks % 64 == 0));
        RC_ASSERT((size < G::page ? used <= 64 * G::page : shape.blocks <= 64));
        // Naturally aligned.
        RC_ASSERT(slot % (size & ~(size - 1)) == 0u);
    }));
}

/// The alignment that mpmm.h promises, of blocks as they come.
TEST(SizesOfTheApi, BlocksAreAligned) {
    EXPECT_TRUE(rc::check("blocks are aligned", [] {
        const std::size_t shift = *rc::gen::inRange<std::size_t>(0, 17), page = mpmm_backend_page_size();
        const std::size_t size = *rc::gen::oneOf(rc::gen::just(std::size_t{1} << shift), any_size(4 * mpmm_backend_chunk_size()));
        const std::size_t natural = std::has_single_bit(size) && size <= page ? size : 1, least = size >= 16 ? 16 : std::bit_floor(size);
        RC_ASSERT(mpmm_good_alignment(size) >= std::max({natural, least, std::size_t{1}}));
        std::vector<void*> blocks(3);
        for (void*& block : blocks) block = mpmm_malloc(size);
        for (void* const block : blocks) {
            RC_ASSERT(reinterpret_cast<std::uintptr_t>(block) % mpmm_good_alignment(size) == 0u);
            mpmm_free(block, size);
        }
    }));
}

TEST(SizesOfTheApi, RoundTrip) {
    EXPECT_TRUE(rc::check("rounding is monotone and idempotent", [] {
        const std::size_t most = 100 * mpmm_backend_chunk_size(), size = *any_size(most), other = *any_size(most);
        const std::size_t rounded = mpmm_round_size(size);
        RC_ASSERT(rounded >= size);
        RC_ASSERT(mpmm_round_size(rounded) == rounded);
        RC_ASSERT((size <= other) <= (rounded <= mpmm_round_size(other)));
        RC_ASSERT(std::has_single_bit(mpmm_good_alignment(size)));
        RC_ASSERT(mpmm_good_alignment(size) == mpmm_good_alignment(rounded));
    }));
}

}  // namespace
}  // namespace mpmm
