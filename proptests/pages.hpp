// SPDX-License-Identifier: Apache-2.0
// The backend of one case's metadata: fresh pages, until it is told to refuse. It has them all back at its end.
#pragma once

#include "backend/backend.hpp"

#include <sys/mman.h>
#include <utility>
#include <vector>

namespace mpmm::test {

class Pages {
  public:
    Pages() {
        mpmm_backend callbacks{};
        callbacks.struct_size = sizeof callbacks;
        callbacks.context = this;
        callbacks.flags = MPMM_BACKEND_ZEROED;
        callbacks.allocate = [](void* self, std::size_t size, std::size_t alignment) {
            return static_cast<Pages*>(self)->allocate(size, alignment);
        };
        callbacks.deallocate = [](void*, void*, std::size_t) { return -1; };
        backend.use(callbacks);
    }
    ~Pages() {
        for (const auto& [memory, size] : given_) ::munmap(memory, size);
    }
    Pages(const Pages&) = delete;
    Pages& operator=(const Pages&) = delete;

    Backend backend;
    bool refuses = false;
    unsigned refusals = 0;

  private:
    void* allocate(std::size_t size, std::size_t alignment) {
        if (refuses) {
            ++refusals;
            return nullptr;
        }
        void* const memory = ::mmap(nullptr, size + alignment, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) return nullptr;
        given_.emplace_back(memory, size + alignment);
        return reinterpret_cast<void*>(align_up(reinterpret_cast<std::uintptr_t>(memory), alignment));
    }
    std::vector<std::pair<void*, std::size_t>> given_;
};

}  // namespace mpmm::test
