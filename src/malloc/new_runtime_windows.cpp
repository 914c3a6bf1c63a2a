// SPDX-License-Identifier: Apache-2.0
// On Windows this library is linked into C++ programs only, so their runtime is there.
#include "malloc/drop_in.hpp"

namespace mpmm::drop_in {

std::new_handler current_handler() { return std::get_new_handler(); }

void throw_bad_alloc(std::size_t) { throw std::bad_alloc(); }

}  // namespace mpmm::drop_in
