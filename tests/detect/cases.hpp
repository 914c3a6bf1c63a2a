// SPDX-License-Identifier: Apache-2.0
// The table of all buggy cases, for the programs that commit the errors and for the test that reads the reports. A case is an error, the
// block's size, how the block was made, who commits the error, and where it is found. The full product would be thousands: every error
// occurs once, and one of each kind meets every size, every way of making and every relation of threads.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace mpmm::detect {

// error, kind in the report
#define MPMM_DETECT_ERRORS(X)                         \
    X(double_free, "double-free")                     \
    X(realloc_of_freed, "double-free")                \
    X(free_interior, "invalid-free")                  \
    X(free_misaligned, "invalid-free")                \
    X(free_offset, "invalid-free")                    \
    X(free_last_byte, "invalid-free")                 \
    X(free_before, "invalid-free")                    \
    X(realloc_interior, "invalid-free")               \
    X(free_stack, "invalid-free")                     \
    X(free_global, "invalid-free")                    \
    X(free_wild, "invalid-free")                      \
    X(free_not_canonical, "invalid-free")             \
    X(sized_larger, "size-mismatch")                  \
    X(sized_smaller, "size-mismatch")                 \
    X(sized_by_one, "size-mismatch")                  \
    X(free_sized_larger, "size-mismatch")             \
    X(free_aligned_sized_smaller, "size-mismatch")    \
    X(wrong_free, "alloc-dealloc-mismatch")           \
    X(wrong_delete, "alloc-dealloc-mismatch")         \
    X(wrong_delete_array, "alloc-dealloc-mismatch")   \
    X(wrong_delete_aligned, "alloc-dealloc-mismatch") \
    X(wrong_realloc, "alloc-dealloc-mismatch")        \
    X(overflow_byte, "heap-buffer-overflow")          \
    X(overflow_word, "heap-buffer-overflow")          \
    X(overflow_eighth, "heap-buffer-overflow")        \
    X(overflow_strcpy, "heap-buffer-overflow")        \
    X(overflow_memset, "heap-buffer-overflow")        \
    X(underflow_byte, "heap-buffer-underflow")        \
    X(underflow_eighth, "heap-buffer-underflow")      \
    X(stale_first, "heap-use-after-free")             \
    X(stale_middle, "heap-use-after-free")            \
    X(stale_last, "heap-use-after-free")              \
    X(stale_after_realloc, "heap-use-after-free")     \
    X(guard_read_freed, "heap-use-after-free")        \
    X(guard_write_freed, "heap-use-after-free")       \
    X(guard_overread, "heap-buffer-overflow")         \
    X(guard_overwrite, "heap-buffer-overflow")        \
    X(guard_underread, "heap-buffer-underflow")       \
    X(leak_lost, "leak")                              \
    X(leak_list, "leak")                              \
    X(leak_cycle, "leak")

enum class Error : unsigned char {
#define X(name, kind) name,
    MPMM_DETECT_ERRORS(X)
#undef X
};
inline constexpr const char* error_names[] = {
#define X(name, kind) #name,
    MPMM_DETECT_ERRORS(X)
#undef X
};
inline constexpr const char* error_kinds[] = {
#define X(name, kind) kind,
    MPMM_DETECT_ERRORS(X)
#undef X
};

// how the block is made, the family its report may name it by
#define MPMM_DETECT_MAKINGS(X)             \
    X(malloc, "malloc")                    \
    X(calloc, "alloc")                     \
    X(realloc_grown, "alloc")              \
    X(realloc_shrunk, "alloc")             \
    X(aligned_alloc_64, "al")              \
    X(aligned_alloc_4096, "al")            \
    X(posix_memalign_64, "al")             \
    X(memalign_256, "al")                  \
    X(operator_new, "new")                 \
    X(operator_new_array, "new[]")         \
    X(operator_new_aligned_64, "new")      \
    X(operator_new_array_aligned, "new[]") \
    X(operator_new_nothrow, "new")         \
    X(mpmm_malloc, "alloc")                \
    X(mpmm_zalloc, "alloc")                \
    X(mpmm_aligned_alloc_64, "al")         \
    X(mpmm_realloc, "alloc")               \
    X(mpmm_malloc_batch, "alloc")          \
    X(mpmm_tcache_malloc, "alloc")         \
    X(mpmm_lcache_malloc, "alloc")

enum class Making : unsigned char {
#define X(name, family) name,
    MPMM_DETECT_MAKINGS(X)
#undef X
};
inline constexpr const char* making_names[] = {
#define X(name, family) #name,
    MPMM_DETECT_MAKINGS(X)
#undef X
};
inline constexpr const char* making_families[] = {
#define X(name, family) family,
    MPMM_DETECT_MAKINGS(X)
#undef X
};

/// Who commits the error. The main thread is T0 in reports.
enum class Relation : unsigned char {
    same,   ///< the main thread does everything
    other,  ///< the main thread allocates and frees, another commits the error
    ended,  ///< the allocating thread has ended
    batch,  ///< another thread frees 200 blocks of the main thread, and commits the error among them
};
inline constexpr const char* relation_names[] = {"same", "other", "ended", "batch"};

/// What happens after an error that nobody notices at once.
enum class Found : unsigned char { at_once, at_free, at_realloc, at_exit };
inline constexpr const char* found_names[] = {"at_once", "at_free", "at_realloc", "at_exit"};

struct Case {
    Error error;
    std::size_t size;
    Making making = Making::malloc;
    Relation relation = Relation::same;
    Found found = Found::at_once;
    friend bool operator==(const Case&, const Case&) = default;
};

inline constexpr std::size_t tiny = 24, small = 1000, page = 6000, medium = 300 << 10, large = 3 << 20, huge = 80 << 20;
inline constexpr std::size_t sizes[] = {tiny, small, page, medium, large, huge};
inline constexpr std::size_t list_length = 5, cycle_length = 3, batch_length = 200, batch_middle = 100;

constexpr const char* kind_of(Error error) { return error_kinds[static_cast<std::size_t>(error)]; }
constexpr bool of_kind(Error error, std::string_view kind) { return kind == kind_of(error); }
constexpr bool guarded(Error error) { return Error::guard_read_freed <= error && error <= Error::guard_underread; }
constexpr bool leaking(Error error) { return of_kind(error, "leak"); }
constexpr bool api(Making making) { return making >= Making::mpmm_malloc; }
constexpr bool operator_made(Making making) { return Making::operator_new <= making && making <= Making::operator_new_nothrow; }
/// An address that no block is near.
constexpr bool of_no_block(Error error) { return Error::free_stack <= error && error <= Error::free_not_canonical; }
/// The block is freed correctly before the error.
constexpr bool freed_before(Error error) {
    return error == Error::double_free || error == Error::realloc_of_freed ||
           (Error::stale_first <= error && error <= Error::guard_write_freed);
}
constexpr std::size_t objects_of(Error error) {
    return error == Error::leak_list ? list_length : error == Error::leak_cycle ? cycle_length : 1;
}
/// Sized and mismatched frees, whose words the explanation must hold.
constexpr bool of_wrong_size(Error error) { return of_kind(error, "size-mismatch"); }
constexpr std::size_t wrong_size(const Case& test) {
    switch (test.error) {
        case Error::sized_smaller:
        case Error::free_aligned_sized_smaller: return test.size / 2;
        case Error::sized_by_one: return test.size + 1;
        default: return test.size * 2 + 16;
    }
}

inline std::string name_of(const Case& test) {
    std::string name = error_names[static_cast<std::size_t>(test.error)];
    name += '-' + std::to_string(test.size) + '-' + making_names[static_cast<std::size_t>(test.making)];
    name = name + '-' + relation_names[static_cast<std::size_t>(test.relation)];
    if (test.found != Found::at_once) name = name + '-' + found_names[static_cast<std::size_t>(test.found)];
    return name;
}

/// What MPMM_OPTIONS must hold for the error to be seen.
inline std::string options_of(const Case& test) {
    if (guarded(test.error)) return "guard_sample_rate=1";
    if (leaking(test.error)) return "detect_leaks=1";
    // The block must still be in quarantine at exit.
    if (freed_before(test.error) && test.size >= large) return "quarantine_bytes=256m";
    return "";
}

}  // namespace mpmm::detect
