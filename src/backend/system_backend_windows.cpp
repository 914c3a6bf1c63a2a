// SPDX-License-Identifier: Apache-2.0
// Windows as a backend. It aligns by itself where it can, see os::map_aligned(); and what a reservation gives back in parts goes back with the
// last of them, see memory_windows.cpp.
#include "backend/backend.hpp"
#include "platform/os_windows.hpp"
#include "verify/options.hpp"

namespace mpmm {
namespace {

void* system_allocate(void*, std::size_t size, std::size_t alignment) {
    return os::map_aligned(size, alignment, options::get(options::thp) != 0);
}
int system_deallocate(void*, void* address, std::size_t size) { return os::unmap(address, size) ? 0 : -1; }
int system_purge(void*, void* address, std::size_t size) { return os::purge(address, size) ? 0 : -1; }
int system_resize(void*, void* address, std::size_t old_size, std::size_t new_size) {
    return os::resize(address, old_size, new_size) ? 0 : -1;
}

constexpr mpmm_backend callbacks{sizeof(mpmm_backend),
                                 nullptr,
                                 system_allocate,
                                 system_deallocate,
                                 system_purge,
                                 system_resize,
                                 MPMM_BACKEND_ZEROED | MPMM_BACKEND_PURGE_ZEROES};

}  // namespace

const mpmm_backend& system_backend() { return callbacks; }

}  // namespace mpmm
