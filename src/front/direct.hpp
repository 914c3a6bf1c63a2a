// SPDX-License-Identifier: Apache-2.0
// What stands between the APIs and the heap in the release build: nothing.
#pragma once

#include "heap/heap.hpp"
#include "verify/alloc_record.hpp"

#include <cerrno>

namespace mpmm {

template <class H>
struct DirectFront {
    [[gnu::always_inline]] static void* malloc(Family, std::size_t size) { return H::malloc(size); }
    [[gnu::always_inline]] static void* sized_malloc(std::size_t size) { return H::malloc(size); }
    static void* zalloc(Family, std::size_t size) { return H::zalloc(size); }
    static void* aligned(Family, std::size_t alignment, std::size_t size, bool zero) { return H::aligned(alignment, size, zero); }
    static void* tcache_malloc(std::size_t size) { return H::tcache_malloc(size); }
    static void* large_malloc(std::size_t size) { return H::large_malloc(size); }

    [[gnu::always_inline]] static void free(Family, void* block) { H::free(block); }
    [[gnu::always_inline]] static void free_sized(Family, void* block, std::size_t) { H::free(block); }
    static std::size_t malloc_batch(std::size_t size, std::size_t count, void** blocks) { return H::malloc_batch(size, count, blocks); }
    static void free_batch(std::size_t, std::size_t count, void* const* blocks) { H::free_batch(count, blocks); }
    static void* realloc(void* block, std::size_t size) { return H::realloc(block, size, true); }
    static void* realloc_sized(void* block, std::size_t, std::size_t size) { return H::realloc(block, size, true); }
    static bool resize(void* block, std::size_t, std::size_t size) { return H::realloc(block, size, false) != nullptr; }

    static std::size_t round_size(std::size_t size) { return H::round_size(size); }
    static std::size_t good_alignment(std::size_t size) {
        const std::size_t rounded = H::round_size(size);
        if (rounded == 0) return 0;
        return rounded > H::Classes::max_size ? H::G::chunk : std::size_t{1} << std::countr_zero(rounded);
    }
    static std::size_t usable_size(const void* block) { return H::usable_size(block); }
    static void stats(mpmm_stats& out) { H::stats(out); }
    static int walk(mpmm_walk_callback callback, void* context) { return H::walk(callback, context); }
    static mpmm_address_info describe(const void* address) { return H::describe(address); }
    static std::size_t verify() { return H::verify(); }
    static std::size_t leak_check() {
        errno = ENOSYS;
        return 0;
    }
    static bool trim(std::size_t keep) { return H::trim(keep); }
    static void start() { H::start(); }
};

}  // namespace mpmm
