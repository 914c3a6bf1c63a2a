// SPDX-License-Identifier: Apache-2.0
// The C library's allocation functions over Heap. Standards: ISO C23 7.24.3, POSIX.1-2024, and the GNU C library for the rest.
#include "front/front.hpp"
#include "malloc/drop_in.hpp"
#include "platform/os.hpp"
#include "verify/options.hpp"
#include "verify/report.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <malloc.h>

using namespace mpmm;
using G = BuildConfig::Geometry;

namespace {

[[gnu::always_inline]] inline void* aligned_or_null(std::size_t alignment, std::size_t size) {
    return Front::aligned(Family::malloc, alignment, size, false);
}

[[gnu::always_inline]] inline void* reallocate(void* block, std::size_t size) {
    if (block == nullptr) return Front::malloc(Family::malloc, size);
    if (size == 0) {
        // As the GNU C library does: the block is freed and there is no new one.
        Front::free(Family::malloc, block);
        return nullptr;
    }
    return Front::realloc(block, size);
}

mpmm_stats heap_stats() {
    mpmm_stats stats{};
    Front::stats(stats);
    return stats;
}

template <class Info>
[[maybe_unused]] Info fill_mallinfo() {
    using Field = decltype(Info::arena);
    const mpmm_stats stats = heap_stats();
    Info info{};
    info.arena = static_cast<Field>(stats.mapped_bytes - stats.large_bytes);
    info.ordblks = static_cast<Field>(stats.block_allocators);
    info.hblkhd = static_cast<Field>(stats.large_bytes);
    info.uordblks = static_cast<Field>(stats.used_bytes);
    info.fordblks = static_cast<Field>(stats.free_bytes + stats.cached_bytes);
    info.keepcost = static_cast<Field>(stats.cached_bytes);
    return info;
}

}  // namespace

extern "C" {

MPMM_EXPORT void* malloc(size_t size) noexcept { return Front::malloc(Family::malloc, size); }

MPMM_EXPORT void free(void* block) noexcept { Front::free(Family::malloc, block); }

MPMM_EXPORT void* calloc(size_t count, size_t size) noexcept {
    size_t total = 0;
    if (__builtin_mul_overflow(count, size, &total)) return or_enomem(nullptr);
    return Front::zalloc(Family::malloc, total);
}

MPMM_EXPORT void* realloc(void* block, size_t size) noexcept { return reallocate(block, size); }

MPMM_EXPORT void* reallocarray(void* block, size_t count, size_t size) noexcept {
    size_t total = 0;
    if (__builtin_mul_overflow(count, size, &total)) return or_enomem(nullptr);
    return reallocate(block, total);
}

/// An alignment that is no power of two is rounded up to one, as the GNU C library does.
MPMM_EXPORT void* memalign(size_t alignment, size_t size) noexcept {
    if (alignment > SIZE_MAX / 2 + 1) {
        errno = EINVAL;
        return nullptr;
    }
    return aligned_or_null(std::bit_ceil(alignment), size);
}

MPMM_EXPORT void* aligned_alloc(size_t alignment, size_t size) noexcept {
    if (!std::has_single_bit(alignment)) {
        errno = EINVAL;
        return nullptr;
    }
    return aligned_or_null(alignment, size);
}

/// errno is not set; the result is the error.
MPMM_EXPORT int posix_memalign(void** result, size_t alignment, size_t size) noexcept {
    if (!std::has_single_bit(alignment) || alignment % sizeof(void*) != 0) return EINVAL;
    const int kept = errno;
    void* const block = Front::aligned(Family::malloc, alignment, size, false);
    errno = kept;
    if (block == nullptr) return ENOMEM;
    *result = block;
    return 0;
}

MPMM_EXPORT void* valloc(size_t size) noexcept { return aligned_or_null(os::whole_page<G>(), size); }

MPMM_EXPORT void* pvalloc(size_t size) noexcept {
    if (size > PTRDIFF_MAX) return or_enomem(nullptr);
    const std::size_t page = os::whole_page<G>();
    return aligned_or_null(page, align_up(size == 0 ? 1 : size, page));
}

MPMM_EXPORT size_t malloc_usable_size(void* block) noexcept { return Front::usable_size(block); }

MPMM_EXPORT void cfree(void* block) noexcept { Front::free(Family::malloc, block); }
MPMM_EXPORT void free_sized(void* block, size_t size) noexcept { Front::free_sized(Family::malloc, block, size); }
MPMM_EXPORT void free_aligned_sized(void* block, size_t, size_t size) noexcept { Front::free_sized(Family::malloc, block, size); }

MPMM_EXPORT int malloc_trim(size_t keep) noexcept { return Front::trim(keep) ? 1 : 0; }

// Other C libraries do not declare them.
#ifdef __GLIBC__
MPMM_EXPORT struct mallinfo mallinfo(void) noexcept { return fill_mallinfo<struct mallinfo>(); }
MPMM_EXPORT struct mallinfo2 mallinfo2(void) noexcept { return fill_mallinfo<struct mallinfo2>(); }
#endif

/// The parameters tune an allocator of another design; all are accepted, as the caller only wants speed.
MPMM_EXPORT int mallopt(int, int) noexcept { return 1; }

MPMM_EXPORT void malloc_stats(void) noexcept {
    const mpmm_stats stats = heap_stats();
    report::Line().text("mpmm: used ").decimal(stats.used_bytes).text(" bytes in ").decimal(stats.used_blocks).text(" blocks").print();
    report::Line().text("mpmm: mapped ").decimal(stats.mapped_bytes).text(" bytes, peak ").decimal(stats.peak_mapped).print();
    report::Line().text("mpmm: cached ").decimal(stats.cached_bytes).text(" bytes, free in blocks ").decimal(stats.free_bytes).print();
}

MPMM_EXPORT int malloc_info(int options, FILE* stream) noexcept {
    if (options != 0) {
        errno = EINVAL;
        return -1;
    }
    const mpmm_stats stats = heap_stats();
    std::fprintf(stream, "<malloc version=\"1\">\n<heap nr=\"0\">\n<total type=\"used\" count=\"%zu\" size=\"%zu\"/>\n", stats.used_blocks,
                 stats.used_bytes);
    std::fprintf(stream, "<total type=\"rest\" count=\"%zu\" size=\"%zu\"/>\n</heap>\n", stats.block_allocators, stats.free_bytes);
    std::fprintf(stream, "<system type=\"current\" size=\"%zu\"/>\n<system type=\"max\" size=\"%zu\"/>\n</malloc>\n", stats.mapped_bytes,
                 stats.peak_mapped);
    return 0;
}

}  // extern "C"
