// SPDX-License-Identifier: Apache-2.0
#include "backend/backend.hpp"

#include "platform/geometry.hpp"
#include "platform/os.hpp"
#include "verify/report.hpp"

namespace mpmm {

void Backend::count(std::size_t added) {
    const std::size_t now = mapped_.fetch_add(added, relaxed) + added;
    // A plain maximum: another thread's higher value must not be overwritten.
    for (std::size_t seen = peak_.load(relaxed); seen < now && !peak_.compare_exchange_weak(seen, now, relaxed, relaxed);) {
    }
}

void* Backend::allocate(std::size_t size, std::size_t alignment) {
    constexpr std::uintptr_t last = ~std::uintptr_t{0} >> (sizeof(void*) * 8 - address_bits);
    if (size > last) return nullptr;
    used_.store(true, relaxed);
    const mpmm_backend& from = callbacks();
    void* const memory = from.allocate(from.context, size, alignment);
    if (memory == nullptr) return nullptr;
    const auto address = reinterpret_cast<std::uintptr_t>(memory);
    if (!is_aligned(address, alignment) || address > last || size - 1 > last - address) {
        report::backend_misbehaved("returned misaligned or impossible memory", memory, size);
        from.deallocate(from.context, memory, size);
        return nullptr;
    }
    count(size);
    return memory;
}

bool Backend::deallocate(void* address, std::size_t size) {
    const mpmm_backend& to = callbacks();
    if (to.deallocate(to.context, address, size) != 0) return false;
    mapped_.fetch_sub(size, relaxed);
    return true;
}

bool Backend::purge(void* address, std::size_t size) {
    const mpmm_backend& to = callbacks();
    if (to.purge == nullptr || to.purge(to.context, address, size) != 0) return false;
    purged_.fetch_add(size, relaxed);
    return true;
}

bool Backend::resize(void* address, std::size_t old_size, std::size_t new_size) {
    const mpmm_backend& with = callbacks();
    if (with.resize == nullptr || with.resize(with.context, address, old_size, new_size) != 0) return false;
    if (new_size > old_size) count(new_size - old_size);
    else mapped_.fetch_sub(old_size - new_size, relaxed);
    return true;
}

bool Backend::move(void* from, std::size_t old_size, void* to, std::size_t new_size) {
    const bool moved = os::move(from, old_size, to, new_size);
    mapped_.fetch_sub(moved ? old_size : new_size, relaxed);
    return moved;
}

}  // namespace mpmm
