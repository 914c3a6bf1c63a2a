// SPDX-License-Identifier: Apache-2.0
// Prints the constants and tables that arithmetic.py proves things about, as JSON: one object per geometry.
#include "geometries.hpp"
#include "heap/config.hpp"
#include "tcache/combining_buffer.hpp"

#include <cstdio>

namespace mpmm {

/// A friend of the combining buffer.
template <class C>
struct Inspector {
    static constexpr std::size_t ways = CombiningBuffer<C>::ways;
};

template <class G>
void print_geometry(const char* separator) {
    using C = Config<G, NoVerify, 8>;
    using Classes = SizeClasses<G>;
    const std::pair<const char*, std::size_t> numbers[] = {
        {"page", G::page},
        {"line", G::line},
        {"pointer", G::pointer},
        {"chunk", G::chunk},
        {"chunk_shift", G::chunk_shift},
        {"map_words", G::map_words},
        {"max_size", Classes::max_size},
        {"linear_classes", Classes::linear_classes},
        {"per_doubling", Classes::per_doubling},
        {"count", Classes::count},
        {"tenant_size", sizeof(BlockAllocator<C>)},
        {"tenant_alignment", tenant_alignment},
        {"no_slots", TenantEntries<G>::no_slots},
        {"foreign_bytes", sizeof ForeignTenant::storage},
        {"ways", Inspector<C>::ways},
    };
    std::printf("%s{", separator);
    for (const auto& [name, value] : numbers) std::printf("\"%s\": %zu, ", name, value);
    std::printf("\"classes\": [");
    for (unsigned index = 0; index < Classes::count; ++index) {
        const auto shape = Classes::shape(index, C::intrusive_max);
        std::printf("%s{\"size\": %u, \"blocks\": %u, \"slot_shift\": %u}", index == 0 ? "" : ", ", shape.size, shape.blocks,
                    shape.slot_shift);
    }
    // Where the class changes, and the sizes beside.
    std::printf("], \"of\": [");
    for (unsigned index = 0; index < Classes::count; ++index)
        for (std::size_t size = Classes::size_of(index) - 1; size <= std::min(Classes::size_of(index) + 1, Classes::max_size); ++size)
            std::printf("%s[%zu, %u]", index == 0 && size < 8 ? "" : ", ", size, Classes::of(size));
    std::printf("]}\n");
}

}  // namespace mpmm

int main() {
    const char* separator = "[";
    mpmm::test::for_each_geometry([&]<class G>() {
        mpmm::print_geometry<G>(separator);
        separator = ", ";
    });
    std::puts("]");
}
