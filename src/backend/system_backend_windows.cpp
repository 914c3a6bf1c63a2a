// SPDX-License-Identifier: Apache-2.0
// Windows as a backend. It aligns by itself where it can, see os::map_aligned(); and what a reservation gives back in parts goes back with the
// last of them, see memory_windows.cpp.
#include "backend/backend.hpp"
#include "platform/os_windows.hpp"
#include "verify/options.hpp"

namespace mpmm {

void* system_allocate(void*, std::size_t size, std::size_t alignment) {
    return os::map_aligned(size, alignment, options::get(options::thp) != 0);
}

}  // namespace mpmm
