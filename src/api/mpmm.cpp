// SPDX-License-Identifier: Apache-2.0
// The C API of include/mpmm/mpmm.h: argument checks and errno, in front of Heap.
#include "mpmm/mpmm.h"

#include "backend/fixed_region.hpp"
#include "front/front.hpp"
#include "platform/os.hpp"
#include "verify/options.hpp"
#include "verify/report.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

using namespace mpmm;
using G = BuildConfig::Geometry;

namespace {

bool power_of_two(std::size_t value) { return std::has_single_bit(value); }

std::size_t page() { return os::whole_page<G>(); }

bool whole_pages(const void* address, std::size_t size) {
    return address != nullptr && size != 0 && is_aligned(reinterpret_cast<std::uintptr_t>(address), page()) && is_aligned(size, page());
}

[[gnu::always_inline]] inline void* aligned_alloc_checked(std::size_t alignment, std::size_t size, bool zero) {
    if (!power_of_two(alignment)) {
        errno = EINVAL;
        return nullptr;
    }
    return Front::aligned(Family::malloc, alignment, size, zero);
}

}  // namespace

extern "C" {

const char* mpmm_version(void) noexcept { return BuildVerify::enabled ? MPMM_VERSION "+verify" : MPMM_VERSION; }

// ---- backend ----

size_t mpmm_backend_page_size(void) noexcept { return page(); }
size_t mpmm_backend_chunk_size(void) noexcept { return G::chunk; }

void* mpmm_backend_allocate(size_t size, size_t alignment) noexcept {
    if (alignment == 0) alignment = page();
    if (!power_of_two(alignment) || size == 0) {
        errno = EINVAL;
        return nullptr;
    }
    if (size > PTRDIFF_MAX - (page() - 1) || alignment > PTRDIFF_MAX / 2) return or_enomem(nullptr);
    return or_enomem(BuildHeap::shared.backend.allocate(align_up(size, page()), std::max(alignment, page())));
}

int mpmm_backend_deallocate(void* address, size_t size) noexcept {
    if (size > PTRDIFF_MAX) return EINVAL;
    size = align_up(size, page());
    return whole_pages(address, size) && BuildHeap::shared.backend.deallocate(address, size) ? 0 : EINVAL;
}

int mpmm_backend_purge(void* address, size_t size) noexcept {
    return whole_pages(address, size) && BuildHeap::shared.backend.purge(address, size) ? 0 : EINVAL;
}

int mpmm_backend_fixed_region(mpmm_backend* backend, void* memory, size_t size) noexcept {
    return backend != nullptr && make_fixed_region(*backend, memory, size, page(), G::chunk) ? 0 : EINVAL;
}

// ---- start-up ----

int mpmm_init(const mpmm_options* given) noexcept {
    options::load_environment();
    if (given == nullptr) return 0;
    if (given->struct_size < sizeof(mpmm_options)) return EINVAL;
    if (const mpmm_backend* const backend = given->backend; backend != nullptr) {
        if (backend->struct_size < sizeof(mpmm_backend) || backend->allocate == nullptr || backend->deallocate == nullptr) return EINVAL;
        if (BuildHeap::shared.backend.used()) return EBUSY;
    }
    if (given->settings != nullptr && !options::apply(given->settings)) return EINVAL;
    if (given->backend != nullptr) BuildHeap::shared.backend.use(*given->backend);
    return 0;
}

int mpmm_set_option(const char* key, const char* value) noexcept {
    if (key == nullptr || value == nullptr) return EINVAL;
    return options::set(key, std::strlen(key), value, std::strlen(value)) ? 0 : EINVAL;
}

// ---- the sized API ----

void* mpmm_malloc(size_t size) noexcept { return Front::sized_malloc(size); }
void* mpmm_zalloc(size_t size) noexcept { return Front::zalloc(Family::malloc, size); }
void* mpmm_aligned_alloc(size_t alignment, size_t size) noexcept { return aligned_alloc_checked(alignment, size, false); }
void* mpmm_aligned_zalloc(size_t alignment, size_t size) noexcept { return aligned_alloc_checked(alignment, size, true); }

void mpmm_free(void* block, size_t size) noexcept { Front::free_sized(Family::malloc, block, size); }
void mpmm_free_unsized(void* block) noexcept { Front::free(Family::malloc, block); }

void* mpmm_realloc(void* block, size_t old_size, size_t new_size) noexcept {
    return block == nullptr ? Front::sized_malloc(new_size) : Front::realloc_sized(block, old_size, new_size);
}
int mpmm_resize(void* block, size_t old_size, size_t new_size) noexcept {
    return block != nullptr && Front::resize(block, old_size, new_size);
}
size_t mpmm_round_size(size_t size) noexcept { return Front::round_size(size); }
size_t mpmm_good_alignment(size_t size) noexcept { return Front::good_alignment(size); }
size_t mpmm_usable_size(const void* block) noexcept { return Front::usable_size(block); }

size_t mpmm_malloc_batch(size_t size, size_t count, void** blocks) noexcept { return Front::malloc_batch(size, count, blocks); }
void mpmm_free_batch(size_t size, size_t count, void* const* blocks) noexcept { Front::free_batch(size, count, blocks); }

// ---- thread caches, large cache, persistent allocator ----

int mpmm_tcache_init(void) noexcept { return BuildHeap::own_cache() != nullptr ? 0 : ENOMEM; }
void mpmm_tcache_flush(void) noexcept { BuildHeap::flush(); }
void mpmm_tcache_release(void) noexcept { BuildHeap::release_cache(); }
void* mpmm_tcache_malloc(size_t size) noexcept { return Front::tcache_malloc(size); }
void mpmm_tcache_free(void* block, size_t size) noexcept { Front::free_sized(Family::malloc, block, size); }

void* mpmm_lcache_malloc(size_t size) noexcept { return Front::large_malloc(size); }
void mpmm_lcache_free(void* block, size_t size) noexcept { Front::free_sized(Family::malloc, block, size); }
size_t mpmm_lcache_purge(void) noexcept { return BuildHeap::shared.large.trim(0); }

void* mpmm_persistent_alloc(size_t size, size_t alignment) noexcept {
    if (!power_of_two(alignment) || alignment > page()) {
        errno = EINVAL;
        return nullptr;
    }
    return or_enomem(BuildHeap::shared.memory.allocate(size == 0 ? 1 : size, alignment));
}
size_t mpmm_persistent_used(void) noexcept { return BuildHeap::shared.memory.used(); }

// ---- memory back, inspection ----

size_t mpmm_purge(void) noexcept { return BuildHeap::purge(); }
int mpmm_trim(size_t keep) noexcept { return Front::trim(keep); }

int mpmm_get_stats(mpmm_stats* stats) noexcept {
    if (stats == nullptr || stats->struct_size < sizeof(size_t)) return EINVAL;
    mpmm_stats all{};
    Front::stats(all);
    all.struct_size = stats->struct_size;
    std::memcpy(stats, &all, stats->struct_size < sizeof all ? stats->struct_size : sizeof all);
    return 0;
}
int mpmm_heap_walk(mpmm_walk_callback callback, void* context) noexcept {
    return callback == nullptr ? EINVAL : Front::walk(callback, context);
}
size_t mpmm_verify_heap(void) noexcept { return Front::verify(); }

mpmm_address_info mpmm_debugger_find(const void* address) noexcept { return Front::describe(address); }

int mpmm_debugger_set_callbacks(const mpmm_debugger_callbacks* given) noexcept {
    if (given != nullptr && given->struct_size < sizeof(mpmm_debugger_callbacks)) return EINVAL;
    report::set_callbacks(given != nullptr ? *given : mpmm_debugger_callbacks{});
    return 0;
}

size_t mpmm_leak_check(void) noexcept { return Front::leak_check(); }

void mpmm_debugger_print_stats(int file_descriptor) noexcept {
    mpmm_stats stats{};
    stats.struct_size = sizeof stats;
    mpmm_get_stats(&stats);
    const struct {
        const char* name;
        size_t value;
    } rows[] = {{"used_bytes", stats.used_bytes},      {"used_blocks", stats.used_blocks},
                {"free_bytes", stats.free_bytes},      {"large_bytes", stats.large_bytes},
                {"cached_bytes", stats.cached_bytes},  {"mapped_bytes", stats.mapped_bytes},
                {"peak_mapped", stats.peak_mapped},    {"metadata_bytes", stats.metadata_bytes},
                {"purged_bytes", stats.purged_bytes},  {"block_allocators", stats.block_allocators},
                {"thread_caches", stats.thread_caches}};
    for (const auto& row : rows) report::Line().text(row.name).text(" ").decimal(row.value).print(file_descriptor);
}

}  // extern "C"
