// SPDX-License-Identifier: Apache-2.0
// Every replaceable operator new and delete ([new.delete] in ISO C++20).
#include "front/front.hpp"
#include "malloc/drop_in.hpp"

#include <cstddef>
#include <new>

using namespace mpmm;

namespace {

[[gnu::always_inline]] inline void* new_or_throw(Family family, std::size_t size) {
    void* const block = Front::malloc(family, size);
    return block != nullptr ? block : drop_in::new_slow(family, size, 0);
}

[[gnu::always_inline]] inline void* new_aligned(Family family, std::size_t size, std::align_val_t alignment) {
    void* const block = Front::aligned(family, static_cast<std::size_t>(alignment), size, false);
    return block != nullptr ? block : drop_in::new_slow(family, size, static_cast<std::size_t>(alignment));
}

[[gnu::always_inline]] inline void* new_nothrow(Family family, std::size_t size, std::size_t alignment) {
    void* const block = alignment == 0 ? Front::malloc(family, size) : Front::aligned(family, alignment, size, false);
    return block != nullptr || drop_in::current_handler() == nullptr ? block : drop_in::new_nothrow_slow(family, size, alignment);
}

}  // namespace

namespace mpmm::drop_in {

void* new_slow(Family family, std::size_t size, std::size_t alignment) {
    for (;;) {
        const std::new_handler handler = current_handler();
        if (handler == nullptr) throw_bad_alloc(size);
        handler();
        void* const block = alignment == 0 ? Front::malloc(family, size) : Front::aligned(family, alignment, size, false);
        if (block != nullptr) return block;
    }
}

}  // namespace mpmm::drop_in

MPMM_EXPORT void* operator new(std::size_t size) { return new_or_throw(Family::new_single, size); }
MPMM_EXPORT void* operator new[](std::size_t size) { return new_or_throw(Family::new_array, size); }
MPMM_EXPORT void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return new_nothrow(Family::new_single, size, 0); }
MPMM_EXPORT void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return new_nothrow(Family::new_array, size, 0); }
MPMM_EXPORT void* operator new(std::size_t size, std::align_val_t alignment) { return new_aligned(Family::new_aligned, size, alignment); }
MPMM_EXPORT void* operator new[](std::size_t size, std::align_val_t alignment) {
    return new_aligned(Family::new_array_aligned, size, alignment);
}
MPMM_EXPORT void* operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
    return new_nothrow(Family::new_aligned, size, static_cast<std::size_t>(alignment));
}
MPMM_EXPORT void* operator new[](std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
    return new_nothrow(Family::new_array_aligned, size, static_cast<std::size_t>(alignment));
}

MPMM_EXPORT void operator delete(void* block) noexcept { Front::free(Family::new_single, block); }
MPMM_EXPORT void operator delete[](void* block) noexcept { Front::free(Family::new_array, block); }
MPMM_EXPORT void operator delete(void* block, std::size_t size) noexcept { Front::free_sized(Family::new_single, block, size); }
MPMM_EXPORT void operator delete[](void* block, std::size_t size) noexcept { Front::free_sized(Family::new_array, block, size); }
MPMM_EXPORT void operator delete(void* block, const std::nothrow_t&) noexcept { Front::free(Family::new_single, block); }
MPMM_EXPORT void operator delete[](void* block, const std::nothrow_t&) noexcept { Front::free(Family::new_array, block); }
MPMM_EXPORT void operator delete(void* block, std::align_val_t) noexcept { Front::free(Family::new_aligned, block); }
MPMM_EXPORT void operator delete[](void* block, std::align_val_t) noexcept { Front::free(Family::new_array_aligned, block); }
MPMM_EXPORT void operator delete(void* block, std::size_t size, std::align_val_t) noexcept {
    Front::free_sized(Family::new_aligned, block, size);
}
MPMM_EXPORT void operator delete[](void* block, std::size_t size, std::align_val_t) noexcept {
    Front::free_sized(Family::new_array_aligned, block, size);
}
MPMM_EXPORT void operator delete(void* block, std::align_val_t, const std::nothrow_t&) noexcept { Front::free(Family::new_aligned, block); }
MPMM_EXPORT void operator delete[](void* block, std::align_val_t, const std::nothrow_t&) noexcept {
    Front::free(Family::new_array_aligned, block);
}
