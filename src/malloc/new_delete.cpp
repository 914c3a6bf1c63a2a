// SPDX-License-Identifier: Apache-2.0
// Every replaceable operator new and delete ([new.delete] in ISO C++20).
//
// The library must load into a C program without bringing the C++ runtime along, and yet throw in a C++ program. So the runtime's two
// functions it needs are weak references: null in a C program. When the runtime was loaded later, by dlopen, dlsym finds them.
#include "heap/build_heap.hpp"
#include "malloc/drop_in.hpp"
#include "verify/report.hpp"

#include <cstddef>
#include <dlfcn.h>
#include <new>

using namespace mpmm;

extern "C" {
[[gnu::weak]] void mpmm_runtime_throw_bad_alloc() __asm__("_ZSt17__throw_bad_allocv");
[[gnu::weak]] std::new_handler mpmm_runtime_get_new_handler() __asm__("_ZSt15get_new_handlerv");
}

namespace {

template <class Function>
Function* runtime(Function* linked, const char* name) {
    return linked != nullptr ? linked : reinterpret_cast<Function*>(::dlsym(RTLD_DEFAULT, name));
}

[[noreturn]] void throw_bad_alloc(std::size_t size) {
    if (auto* const raise = runtime(&mpmm_runtime_throw_bad_alloc, "_ZSt17__throw_bad_allocv"); raise != nullptr) raise();
    report::cannot_throw(size);
}

[[gnu::always_inline]] inline void* new_or_throw(std::size_t size) {
    void* const block = BuildHeap::malloc(size);
    return block != nullptr ? block : drop_in::new_slow(size, 0);
}

void* new_aligned(std::size_t size, std::align_val_t alignment) {
    void* const block = drop_in::try_new(size, static_cast<std::size_t>(alignment));
    return block != nullptr ? block : drop_in::new_slow(size, static_cast<std::size_t>(alignment));
}

void* new_nothrow(std::size_t size, std::size_t alignment) {
    void* const block = drop_in::try_new(size, alignment);
    return block != nullptr || drop_in::current_handler() == nullptr ? block : drop_in::new_nothrow_slow(size, alignment);
}

}  // namespace

namespace mpmm::drop_in {

std::new_handler current_handler() {
    auto* const get = runtime(&mpmm_runtime_get_new_handler, "_ZSt15get_new_handlerv");
    return get != nullptr ? get() : nullptr;
}

void* try_new(std::size_t size, std::size_t alignment) {
    return alignment == 0 ? BuildHeap::malloc(size) : BuildHeap::aligned(alignment, size, false);
}

void* new_slow(std::size_t size, std::size_t alignment) {
    for (;;) {
        const std::new_handler handler = current_handler();
        if (handler == nullptr) throw_bad_alloc(size);
        handler();
        if (void* const block = try_new(size, alignment); block != nullptr) return block;
    }
}

}  // namespace mpmm::drop_in

MPMM_EXPORT void* operator new(std::size_t size) { return new_or_throw(size); }
MPMM_EXPORT void* operator new[](std::size_t size) { return new_or_throw(size); }
MPMM_EXPORT void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return new_nothrow(size, 0); }
MPMM_EXPORT void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return new_nothrow(size, 0); }
MPMM_EXPORT void* operator new(std::size_t size, std::align_val_t alignment) { return new_aligned(size, alignment); }
MPMM_EXPORT void* operator new[](std::size_t size, std::align_val_t alignment) { return new_aligned(size, alignment); }
MPMM_EXPORT void* operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
    return new_nothrow(size, static_cast<std::size_t>(alignment));
}
MPMM_EXPORT void* operator new[](std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
    return new_nothrow(size, static_cast<std::size_t>(alignment));
}

MPMM_EXPORT void operator delete(void* block) noexcept { BuildHeap::free(block); }
MPMM_EXPORT void operator delete[](void* block) noexcept { BuildHeap::free(block); }
MPMM_EXPORT void operator delete(void* block, std::size_t) noexcept { BuildHeap::free(block); }
MPMM_EXPORT void operator delete[](void* block, std::size_t) noexcept { BuildHeap::free(block); }
MPMM_EXPORT void operator delete(void* block, const std::nothrow_t&) noexcept { BuildHeap::free(block); }
MPMM_EXPORT void operator delete[](void* block, const std::nothrow_t&) noexcept { BuildHeap::free(block); }
MPMM_EXPORT void operator delete(void* block, std::align_val_t) noexcept { BuildHeap::free(block); }
MPMM_EXPORT void operator delete[](void* block, std::align_val_t) noexcept { BuildHeap::free(block); }
MPMM_EXPORT void operator delete(void* block, std::size_t, std::align_val_t) noexcept { BuildHeap::free(block); }
MPMM_EXPORT void operator delete[](void* block, std::size_t, std::align_val_t) noexcept { BuildHeap::free(block); }
MPMM_EXPORT void operator delete(void* block, std::align_val_t, const std::nothrow_t&) noexcept { BuildHeap::free(block); }
MPMM_EXPORT void operator delete[](void* block, std::align_val_t, const std::nothrow_t&) noexcept { BuildHeap::free(block); }
