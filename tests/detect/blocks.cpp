// SPDX-License-Identifier: Apache-2.0
#include "detect/blocks.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <malloc.h>
#include <new>
#include <unistd.h>
#ifdef MPMM_DETECT_API
#include "mpmm/mpmm.h"
#endif

namespace mpmm::detect {
namespace {

void line(const char* text, std::size_t length) {
    if (::write(1, text, length) != static_cast<ssize_t>(length)) std::_Exit(96);
}

#ifdef MPMM_DETECT_API
void* make(Making making, std::size_t size) {
    switch (making) {
        case Making::mpmm_zalloc: return ::mpmm_zalloc(size);
        case Making::mpmm_aligned_alloc_64: return ::mpmm_aligned_alloc(64, size);
        case Making::mpmm_realloc: return ::mpmm_realloc(::mpmm_malloc(size / 3), size / 3, size);
        case Making::mpmm_malloc_batch: {
            void* block = nullptr;
            return ::mpmm_malloc_batch(size, 1, &block) == 1 ? block : nullptr;
        }
        case Making::mpmm_tcache_malloc: {
            // Only what the thread's cache has already.
            ::mpmm_free(::mpmm_malloc(size), size);
            return ::mpmm_tcache_malloc(size);
        }
        case Making::mpmm_lcache_malloc: return ::mpmm_lcache_malloc(size);
        default: return ::mpmm_malloc(size);
    }
}
#else
void* make(Making making, std::size_t size) {
    switch (making) {
        case Making::malloc: return std::malloc(size);
        case Making::calloc: return std::calloc(size / 8, 8);
        case Making::realloc_grown: return std::realloc(std::malloc(size / 3), size);
        case Making::realloc_shrunk: return std::realloc(std::malloc(size * 3), size);
        case Making::aligned_alloc_64: return ::aligned_alloc(64, size);
        case Making::aligned_alloc_4096: return ::aligned_alloc(4096, size);
        case Making::posix_memalign_64: {
            void* block = nullptr;
            return ::posix_memalign(&block, 64, size) == 0 ? block : nullptr;
        }
        case Making::memalign_256: return ::memalign(256, size);
        case Making::operator_new: return ::operator new(size);
        case Making::operator_new_array: return ::operator new[](size);
        case Making::operator_new_aligned_64: return ::operator new(size, std::align_val_t{64});
        case Making::operator_new_array_aligned: return ::operator new[](size, std::align_val_t{64});
        case Making::operator_new_nothrow: return ::operator new(size, std::nothrow);
        default: give_up("this making belongs to the sized API");
    }
}
#endif

}  // namespace

void announce(const char* text) { line(text, std::strlen(text)); }

void announce_block(const void* block, std::size_t size) {
    char text[100];
    line(text, static_cast<std::size_t>(std::snprintf(text, sizeof text, "block %p size %zu\n", block, size)));
    explicit_bzero(text, sizeof text);
}

void announce_address(const void* address) {
    char text[100];
    line(text, static_cast<std::size_t>(std::snprintf(text, sizeof text, "address %p\n", address)));
}

void give_up(const char* reason) {
    announce("cannot: ");
    announce(reason);
    announce("\n");
    std::_Exit(90);
}

void* exported(const char* name) {
    void* const found = ::dlsym(RTLD_DEFAULT, name);
    if (found == nullptr) give_up(name);
    return found;
}

void release(Making making, void* block, [[maybe_unused]] std::size_t size) {
#ifdef MPMM_DETECT_API
    if (making == Making::mpmm_malloc_batch) ::mpmm_free_batch(size, 1, &block);
    else if (making == Making::mpmm_tcache_malloc) ::mpmm_tcache_free(block, size);
    else if (making == Making::mpmm_lcache_malloc) ::mpmm_lcache_free(block, size);
    else ::mpmm_free(block, size);
#else
    switch (making) {
        case Making::operator_new:
        case Making::operator_new_nothrow: ::operator delete(block); break;
        case Making::operator_new_array: ::operator delete[](block); break;
        case Making::operator_new_aligned_64: ::operator delete(block, std::align_val_t{64}); break;
        case Making::operator_new_array_aligned: ::operator delete[](block, std::align_val_t{64}); break;
        default: std::free(block);
    }
#endif
    keep_frame();
}

[[gnu::noinline]] void scrub_stack() {
    char dead[64 << 10];
    explicit_bzero(dead, sizeof dead);
}

}  // namespace mpmm::detect

using namespace mpmm::detect;

extern "C" [[gnu::noinline]] void* allocate_the_block(Making making, std::size_t size) {
    void* const block = hide(make(making, size));
    if (block == nullptr) give_up("no memory");
    return block;
}

extern "C" [[gnu::noinline]] void free_the_block(const Case& test, void* block) {
    release(test.making, block, test.size);
    keep_frame();
}

extern "C" [[gnu::noinline]] void* realloc_the_block(const Case&, void* block, std::size_t size) {
#ifdef MPMM_DETECT_API
    return hide(::mpmm_realloc(block, 0, size));
#else
    return hide(std::realloc(block, size));
#endif
}
