// SPDX-License-Identifier: Apache-2.0
// On Windows this library is linked into C++ programs only, so their runtime is there.
#include "malloc/drop_in.hpp"

namespace mpmm::drop_in {

std::new_handler current_handler() { return std::get_new_handler(); }

void throw_bad_alloc(std::size_t) { throw std::bad_alloc(); }

void* new_nothrow_slow(Family family, std::size_t size, std::size_t alignment) noexcept {
    try {
        return new_slow(family, size, alignment);
    } catch (...) {
        return nullptr;
    }
}

}  // namespace mpmm::drop_in
