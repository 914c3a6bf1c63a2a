// SPDX-License-Identifier: Apache-2.0
// Sizes, alignments and offsets of every magnitude against the list of classes as the manual words it, for several geometries.
#include "harness/steps.hpp"
#include "heap/heap.hpp"

#include <algorithm>
#include <vector>

using namespace mpmm;
using namespace mpmm::fuzz;

namespace {

template <class C>
class Sizes {
    using G = typename C::Geometry;
    using Classes = SizeClasses<G>;
    using H = Heap<C>;

  public:
    void size_class(const Step& step) {
        const std::size_t size = number(step) % (Classes::max_size + 1);
        const unsigned index = Classes::of(size);
        expect(index < Classes::count, "class ", index, " of ", size);
        const std::size_t rounded = Classes::size_of(index);
        expect(rounded == class_of(size), size, " bytes are in the class of ", rounded);
        expect(size <= 128 || (rounded - size) * 8 <= rounded, size, " bytes waste too much in the class of ", rounded);
        const std::size_t other = last_ % (Classes::max_size + 1);
        expect(size > other || index <= Classes::of(other), "classes of ", size, " and ", other, " do not ascend");
    }
    void round(const Step& step) {
        const std::size_t size = number(step), rounded = H::round_size(size);
        if (size > PTRDIFF_MAX) return expect(rounded == 0, size, " bytes are impossible, and rounded to ", rounded);
        const std::size_t page = G::page;
        const std::size_t right = size <= Classes::max_size ? class_of(size) : size / page * page + (size % page != 0 ? page : 0);
        expect(rounded == right, size, " bytes are rounded to ", rounded);
        if (rounded <= PTRDIFF_MAX) expect(H::round_size(rounded) == rounded, rounded, " is not rounded to itself");
    }
    void aligned(const Step& step) {
        const std::size_t alignment = std::size_t{1} << step.a % 40, least = last_ % (Classes::max_size * 2);
        std::size_t right = 0;
        for (const std::size_t size : classes())
            if (right == 0 && size >= least && size % alignment == 0) right = size;
        const std::size_t found = H::aligned_size(alignment, least);
        expect(found == right, least, " bytes aligned to ", alignment, " come from the class of ", found, ", not ", right);
    }
    /// Any divisor that a class could be.
    void divide(const Step& step) {
        const std::size_t divisor = number(step) % (Classes::max_size - 1) + 2;
        division(Reciprocal(divisor), divisor, last_);
    }
    void divide_by_class(const Step& step) {
        const auto shape = this->shape(step);
        // Near a block's start, where quotients change.
        division(shape.reciprocal, shape.size, last_ % (G::chunk / shape.size) * shape.size + step.b % 3 - 1);
    }
    void slot(const Step& step) {
        const auto shape = this->shape(step);
        const std::size_t slot = std::size_t{1} << shape.slot_shift, bytes = std::size_t{shape.blocks} * shape.size;
        expect(shape.blocks != 0 && shape.blocks <= G::map_bits && bytes <= slot && slot <= G::chunk, "shape of class ", shape.size);
        expect(shape.blocks <= 64 || shape.blocks % 64 == 0, shape.blocks, " blocks of ", shape.size, " leave a part of a word");
        expect(shape.size >= G::page || bytes <= 64 * G::page, "blocks of ", shape.size, " have more than 64 pages");
        expect(shape.intrusive == (shape.size <= last_), "blocks of ", shape.size, " are intrusive below ", last_);
    }
    /// From an address of a chunk with slots to the descriptor of its slot, and where an intrusive one has its header.
    void tenant(const Step& step) {
        using Entries = TenantEntries<G>;
        constexpr std::size_t tenant_size = 3 * tenant_alignment;
        const unsigned shift = shape(step).slot_shift;
        const std::uintptr_t chunk = (std::uintptr_t{step.b} << 8 | step.c) << G::chunk_shift, address = chunk + last_ % G::chunk;
        const std::uintptr_t first = std::uintptr_t{0x7000'0000'0000} + step.c * tenant_alignment;
        const auto entry = Entries::slots(reinterpret_cast<void*>(first), tenant_size, reinterpret_cast<void*>(chunk), shift);
        expect(!Entries::is_whole(entry), "slots look like one tenant");
        const auto* const found = Entries::template tenant<tenant_size>(entry, reinterpret_cast<void*>(address));
        const std::uintptr_t right = first + ((address - chunk) >> shift) * tenant_size;
        expect(reinterpret_cast<std::uintptr_t>(found) == right, "tenant of offset ", address - chunk, " with slots of 2^", shift);
        const std::uintptr_t slot = address >> shift << shift, header = intrusive_header(slot, shift);
        expect(header >= slot && header - slot < (std::uintptr_t{1} << shift) / 2 && header % tenant_alignment == 0, "header at ",
               header - slot, " in a slot of 2^", shift);
    }
    /// For the operations that need a second number.
    void remember(const Step& step) { last_ = number(step) ^ last_ >> 32; }
    void check() {}

    static constexpr StepKind<Sizes> operations[] = {
        {"size_class", &Sizes::size_class},           {"round", &Sizes::round}, {"aligned", &Sizes::aligned}, {"divide", &Sizes::divide},
        {"divide_by_class", &Sizes::divide_by_class}, {"slot", &Sizes::slot},   {"tenant", &Sizes::tenant},   {"number", &Sizes::remember}};

  private:
    /// Of every magnitude: nine bits somewhere, and up to 128 more or less.
    static std::size_t number(const Step& step) {
        return ((std::size_t{256} + step.b) << step.a % 56 >> 8) + static_cast<std::size_t>(static_cast<std::int8_t>(step.c));
    }
    typename Classes::Shape shape(const Step& step) const { return Classes::shape(step.a % Classes::count, last_); }
    /// 8, then steps of 16 up to 128, then eight to each doubling.
    static const std::vector<std::size_t>& classes() {
        static const auto all = [] {
            std::vector<std::size_t> sizes{8};
            for (std::size_t size = 16; size <= 128; size += 16) sizes.push_back(size);
            for (std::size_t size = 128; size < Classes::max_size; size *= 2)
                for (std::size_t i = 1; i <= 8; ++i) sizes.push_back(size + size / 8 * i);
            return sizes;
        }();
        return all;
    }
    static std::size_t class_of(std::size_t size) { return *std::lower_bound(classes().begin(), classes().end(), size); }
    static void division(Reciprocal by, std::size_t divisor, std::size_t offset) {
        offset %= G::chunk;
        const auto [quotient, exact] = by.divide(offset);
        expect(quotient == offset / divisor, offset, " / ", divisor, " is ", quotient);
        expect(exact == (offset % divisor == 0), offset, " / ", divisor, exact ? " leaves nothing" : " leaves something");
    }

    std::size_t last_ = 0;
};

}  // namespace

/// First byte: the geometry.
const Shape mpmm::fuzz::shape{split_records<1, step_size>, join_pieces};

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    return judge([&] {
        with_one_of<Config<Geometry<4096, 64>, NoVerify, 8>, Config<Geometry<4096, 32>, NoVerify, 128>,
                    Config<Geometry<4096, 128>, NoVerify, 16>, Config<Geometry<16384, 64>, NoVerify, 64>,
                    Config<Geometry<65536, 128>, NoVerify, 32>, Config<Geometry<65536, 32>, NoVerify, 0>>(data[0], [&]<class C> {
            Sizes<C> run;
            run_steps(run, Sizes<C>::operations, {data + 1, size - 1});
        });
    });
}
