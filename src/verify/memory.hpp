// SPDX-License-Identifier: Apache-2.0
// Where verify's own records live: in the allocator's persistent memory, which comes from the backend. heap/ defines it.
#pragma once

#include <cstddef>

namespace mpmm {

/// `size` zeroed bytes aligned to `alignment` (up to a page) for the life of the process; nullptr when out of memory. Thread-safe.
void* record_memory(std::size_t size, std::size_t alignment);

}  // namespace mpmm
