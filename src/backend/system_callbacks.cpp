// SPDX-License-Identifier: Apache-2.0
// The operating system as a backend, like those of users. How it comes by aligned memory differs, and has a file for each system.
#include "backend/backend.hpp"
#include "platform/os.hpp"

namespace mpmm {
namespace {

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
