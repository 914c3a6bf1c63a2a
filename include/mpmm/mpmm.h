/* SPDX-License-Identifier: Apache-2.0
 *
 * mpmm.h - the C API of MPMM, a bitmap-based memory allocator.
 *
 * Every function may be called from any thread at any time unless its comment says otherwise; none throws. Sizes are in bytes,
 * alignments are powers of two in bytes. Functions that return a pointer return NULL and set errno to ENOMEM when memory ran out or
 * the size cannot be represented, EINVAL when an argument makes no sense; the heap stays whole in both cases.
 *
 * The sized API gives the size back at free: the allocator need not remember it, and the verify build checks it.
 */
#ifndef MPMM_MPMM_H
#define MPMM_MPMM_H

#include <stddef.h>
#include <stdint.h>

/* On Windows, define MPMM_SHARED in programs that use the DLL; the CMake targets do. */
#if defined(_WIN32) && defined(MPMM_BUILD)
#define MPMM_API __declspec(dllexport)
#elif defined(_WIN32) && defined(MPMM_SHARED)
#define MPMM_API __declspec(dllimport)
#elif defined(_WIN32)
#define MPMM_API
#elif defined(__GNUC__)
#define MPMM_API __attribute__((visibility("default")))
#else
#define MPMM_API
#endif

#ifdef __cplusplus
#define MPMM_NOEXCEPT noexcept
extern "C" {
#else
#define MPMM_NOEXCEPT
#endif

/* ---- version ---------------------------------------------------------------------------------------------------------------- */

#define MPMM_VERSION_MAJOR 0
#define MPMM_VERSION_MINOR 1
#define MPMM_VERSION_PATCH 0

/** The version of the library at run time, "major.minor.patch", with "+verify" appended by the verify build. Static storage. */
MPMM_API const char* mpmm_version(void) MPMM_NOEXCEPT;

/* ---- backend: where address space comes from -------------------------------------------------------------------------------- */

/** mpmm_backend.flags: memory from allocate() reads as zero. */
#define MPMM_BACKEND_ZEROED 1u
/** mpmm_backend.flags: memory reads as zero after purge() returned 0. */
#define MPMM_BACKEND_PURGE_ZEROES 2u

/**
 * Callbacks that replace the system as the source of every byte the allocator uses, its own metadata included.
 * The callbacks are called with the allocator's locks held: they must not call the allocator back, and must be thread-safe.
 * What they return is checked: memory that is misaligned, or overlaps memory already handed over, is reported on stderr and refused.
 */
typedef struct mpmm_backend {
    size_t struct_size; /**< sizeof(mpmm_backend); lets later versions add members */
    void* context;      /**< passed to every callback */
    /** `size` bytes (a multiple of the page size) aligned to `alignment` (a power of two, at least the page size), or NULL. */
    void* (*allocate)(void* context, size_t size, size_t alignment);
    /** Takes back a page-aligned part of what allocate() gave. 0 on success; otherwise the allocator keeps the memory. */
    int (*deallocate)(void* context, void* address, size_t size);
    /** The content is no longer needed, the address range is: give the physical memory back. May be NULL. 0 on success. */
    int (*purge)(void* context, void* address, size_t size);
    /** Grow or shrink in place from old_size to new_size (multiples of the page size). May be NULL. 0 on success. */
    int (*resize)(void* context, void* address, size_t old_size, size_t new_size);
    unsigned flags; /**< MPMM_BACKEND_* */
} mpmm_backend;

/** The page size the allocator works with. */
MPMM_API size_t mpmm_backend_page_size(void) MPMM_NOEXCEPT;
/** The size and alignment of a chunk, the unit in which the backend is asked for memory for blocks. */
MPMM_API size_t mpmm_backend_chunk_size(void) MPMM_NOEXCEPT;
/**
 * Memory straight from the backend: `size` is rounded up to pages, `alignment` is a power of two (0 means page size). It is not a
 * heap block: release it with mpmm_backend_deallocate() and the same size.
 */
MPMM_API void* mpmm_backend_allocate(size_t size, size_t alignment) MPMM_NOEXCEPT;
/** Gives back memory from mpmm_backend_allocate(). Returns 0, or EINVAL for an address or size that is not whole pages. */
MPMM_API int mpmm_backend_deallocate(void* address, size_t size) MPMM_NOEXCEPT;
/** Returns the physical memory of whole pages from mpmm_backend_allocate() to the system, keeping the addresses. 0 or EINVAL. */
MPMM_API int mpmm_backend_purge(void* address, size_t size) MPMM_NOEXCEPT;
/**
 * Fills *backend with callbacks that allocate only inside [memory, memory + size): bookkeeping lives at its start. The memory must
 * stay valid for the life of the process and be readable and writable. Returns 0, or EINVAL when it is too small to hold one chunk
 * and its bookkeeping.
 */
MPMM_API int mpmm_backend_fixed_region(mpmm_backend* backend, void* memory, size_t size) MPMM_NOEXCEPT;

/* ---- start-up --------------------------------------------------------------------------------------------------------------- */

typedef struct mpmm_options {
    size_t struct_size;          /**< sizeof(mpmm_options) */
    const mpmm_backend* backend; /**< NULL: the system. Copied. */
    const char* settings;        /**< "key=value:key=value" as in MPMM_OPTIONS, applied after it. NULL: none. */
} mpmm_options;

/**
 * Starts the allocator with these options; without a call it starts by itself at the first allocation with the system backend.
 * Returns 0; EBUSY when a backend is given and memory was already allocated; EINVAL for an unknown setting or a backend without
 * allocate and deallocate (nothing is changed then). `options` may be NULL.
 */
MPMM_API int mpmm_init(const mpmm_options* options) MPMM_NOEXCEPT;
/** Changes one run-time setting (see MPMM_OPTIONS=help=1). Returns 0, or EINVAL and changes nothing. */
MPMM_API int mpmm_set_option(const char* key, const char* value) MPMM_NOEXCEPT;

/* ---- the sized API ---------------------------------------------------------------------------------------------------------- */

/**
 * A block of at least `size` bytes: aligned to 16 from 16 bytes up, to the next smaller power of two below that, and to `size` itself
 * when that is a power of two up to a page. `size` 0 gives a distinct block.
 */
MPMM_API void* mpmm_malloc(size_t size) MPMM_NOEXCEPT;
/** mpmm_malloc() with the first `size` bytes zero. */
MPMM_API void* mpmm_zalloc(size_t size) MPMM_NOEXCEPT;
/** A block aligned to `alignment`, any power of two. Free it with mpmm_free(). EINVAL when `alignment` is no power of two. */
MPMM_API void* mpmm_aligned_alloc(size_t alignment, size_t size) MPMM_NOEXCEPT;
/** mpmm_aligned_alloc() with the first `size` bytes zero. */
MPMM_API void* mpmm_aligned_zalloc(size_t alignment, size_t size) MPMM_NOEXCEPT;
/** Frees a block; `size` is the size asked for, or any up to its mpmm_round_size(). NULL is allowed. errno is kept. */
MPMM_API void mpmm_free(void* block, size_t size) MPMM_NOEXCEPT;
/** Frees a block whose size the caller no longer knows. */
MPMM_API void mpmm_free_unsized(void* block) MPMM_NOEXCEPT;
/** Changes the size of a block, moving it when needed; NULL leaves the old block valid. A NULL block is mpmm_malloc(new_size). */
MPMM_API void* mpmm_realloc(void* block, size_t old_size, size_t new_size) MPMM_NOEXCEPT;
/** Changes the size of a block without moving it. Returns 1 when done, 0 when it would have to move (the block is unchanged). */
MPMM_API int mpmm_resize(void* block, size_t old_size, size_t new_size) MPMM_NOEXCEPT;
/**
 * The bytes really reserved for a request of `size`: asking for that many costs the same. 0 when `size` is beyond PTRDIFF_MAX. Blocks of more
 * than 1/64 of mpmm_backend_chunk_size() may get more, less than twice as much, where that saves touching fresh memory.
 */
MPMM_API size_t mpmm_round_size(size_t size) MPMM_NOEXCEPT;
/** The alignment every block of this request size has. */
MPMM_API size_t mpmm_good_alignment(size_t size) MPMM_NOEXCEPT;
/** The bytes that may be used in a live block; 0 for NULL. */
MPMM_API size_t mpmm_usable_size(const void* block) MPMM_NOEXCEPT;
/** Fills blocks[0..count) with blocks of `size`; returns how many it got (fewer only when memory ran out). */
MPMM_API size_t mpmm_malloc_batch(size_t size, size_t count, void** blocks) MPMM_NOEXCEPT;
/** Frees `count` blocks of `size` each. */
MPMM_API void mpmm_free_batch(size_t size, size_t count, void* const* blocks) MPMM_NOEXCEPT;

/* ---- thread caches ---------------------------------------------------------------------------------------------------------- */

/** Creates the calling thread's cache now instead of at its first allocation. Returns 0 or ENOMEM. */
MPMM_API int mpmm_tcache_init(void) MPMM_NOEXCEPT;
/** Publishes frees of other threads' blocks that this thread still combines, and takes back what others freed for it. */
MPMM_API void mpmm_tcache_flush(void) MPMM_NOEXCEPT;
/** Gives the calling thread's cache up as thread exit does; the next allocation creates one again. */
MPMM_API void mpmm_tcache_release(void) MPMM_NOEXCEPT;
/** Like mpmm_malloc(), but returns NULL (errno ENOMEM) rather than take new memory from beyond the calling thread's cache. */
MPMM_API void* mpmm_tcache_malloc(size_t size) MPMM_NOEXCEPT;
/** Frees a block as mpmm_free() does. */
MPMM_API void mpmm_tcache_free(void* block, size_t size) MPMM_NOEXCEPT;

/* ---- large cache ------------------------------------------------------------------------------------------------------------ */

/** A chunk-aligned block of whole chunks from the large cache. */
MPMM_API void* mpmm_lcache_malloc(size_t size) MPMM_NOEXCEPT;
/** Frees a block of the large cache. */
MPMM_API void mpmm_lcache_free(void* block, size_t size) MPMM_NOEXCEPT;
/** Returns every free run of the large cache to the backend now. Returns the bytes given back. */
MPMM_API size_t mpmm_lcache_purge(void) MPMM_NOEXCEPT;

/* ---- persistent allocator --------------------------------------------------------------------------------------------------- */

/** Memory that lives until the process ends and is never freed; zeroed. `alignment` is a power of two up to the page size. */
MPMM_API void* mpmm_persistent_alloc(size_t size, size_t alignment) MPMM_NOEXCEPT;
/** Bytes handed out by the persistent allocator, the allocator's own metadata included. */
MPMM_API size_t mpmm_persistent_used(void) MPMM_NOEXCEPT;

/* ---- memory back to the system ---------------------------------------------------------------------------------------------- */

/** Returns the unused pages this thread can reach, and all unused global ones, to the system now. Returns the bytes purged. */
MPMM_API size_t mpmm_purge(void) MPMM_NOEXCEPT;
/** mpmm_purge(), then free address space goes back to the backend, but for `keep` bytes. Returns 1 if anything was released. */
MPMM_API int mpmm_trim(size_t keep) MPMM_NOEXCEPT;

/* ---- looking into the heap -------------------------------------------------------------------------------------------------- */

typedef struct mpmm_stats {
    size_t struct_size;      /**< set by the caller to sizeof(mpmm_stats) */
    size_t used_bytes;       /**< in live blocks, rounded to their size classes */
    size_t used_blocks;      /**< live blocks */
    size_t free_bytes;       /**< in free blocks of block allocators */
    size_t large_bytes;      /**< part of used_bytes: blocks above the large threshold */
    size_t cached_bytes;     /**< free chunk runs in the large cache */
    size_t mapped_bytes;     /**< obtained from the backend and not returned */
    size_t peak_mapped;      /**< highest mapped_bytes so far */
    size_t metadata_bytes;   /**< handed out by the persistent allocator */
    size_t purged_bytes;     /**< returned to the system by purging, total; counts on from 0 after SIZE_MAX */
    size_t block_allocators; /**< block allocators in use */
    size_t thread_caches;    /**< thread caches in use */
} mpmm_stats;

/** Fills *stats up to its struct_size. Exact when no other thread allocates meanwhile. Returns 0, or EINVAL for a small struct_size. */
MPMM_API int mpmm_get_stats(mpmm_stats* stats) MPMM_NOEXCEPT;

/** One live block, for mpmm_heap_walk(). Returns nonzero to stop the walk. It must not allocate or free. */
typedef int (*mpmm_walk_callback)(void* block, size_t usable_size, void* context);
/** Calls `callback` for every live block. Exact when no other thread allocates meanwhile. Returns what the last callback returned. */
MPMM_API int mpmm_heap_walk(mpmm_walk_callback callback, void* context) MPMM_NOEXCEPT;
/**
 * Checks every invariant of the heap's own structures and, in the verify build, every block's redzones and the content of freed blocks.
 * Returns the number of errors found, each reported as the options say.
 */
MPMM_API size_t mpmm_verify_heap(void) MPMM_NOEXCEPT;

/* ---- for debuggers ---------------------------------------------------------------------------------------------------------- */

typedef enum mpmm_address_kind {
    MPMM_ADDRESS_FOREIGN = 0, /**< not memory of this allocator */
    MPMM_ADDRESS_LIVE = 1,    /**< inside a live block */
    MPMM_ADDRESS_FREE = 2,    /**< inside a free block */
    MPMM_ADDRESS_UNUSED = 3,  /**< the allocator's, but no block: metadata, free chunk, tail */
} mpmm_address_kind;

typedef struct mpmm_address_info {
    mpmm_address_kind kind;
    void* block;        /**< start of the block, NULL when there is none */
    size_t usable_size; /**< of the block */
    size_t offset;      /**< of the address in the block */
} mpmm_address_info;

/** Describes any address. Exact when no other thread allocates meanwhile; never faults. */
MPMM_API mpmm_address_info mpmm_debugger_find(const void* address) MPMM_NOEXCEPT;
/** An error, for mpmm_debugger_callbacks. */
typedef struct mpmm_debugger_error {
    size_t struct_size; /**< sizeof(mpmm_debugger_error) as the library knows it */
    const char* kind;   /**< "double-free", …; see docs/verify.md */
    const void* address;
    const void* block;  /**< start of the block it concerns, NULL when there is none */
    size_t block_size;  /**< as requested */
    const char* report; /**< the whole text as it would have been printed, or JSON with report_format=json */
} mpmm_debugger_error;

/**
 * What to call instead of printing. The functions may be called from any thread, in a signal handler, and with the allocator's locks held:
 * they must neither allocate nor free, and what they are given ends with the call. A NULL member prints.
 */
typedef struct mpmm_debugger_callbacks {
    size_t struct_size;                                             /**< sizeof(mpmm_debugger_callbacks) */
    void* context;                                                  /**< passed to every callback */
    void (*message)(void* context, const char* text);               /**< notes, such as a limit that was reached */
    void (*warning)(void* context, const char* text);               /**< settings and backends that cannot be used as given */
    void (*error)(void* context, const mpmm_debugger_error* error); /**< errors; halt_on_error applies afterwards */
} mpmm_debugger_callbacks;

/** Sets the callbacks; NULL goes back to printing. Returns 0, or EINVAL for a small struct_size. Call it while no report can come. */
MPMM_API int mpmm_debugger_set_callbacks(const mpmm_debugger_callbacks* callbacks) MPMM_NOEXCEPT;
/**
 * Verify build: reports the live blocks that no global, register, stack or other reachable block points to, grouped by where they were
 * allocated. Other threads are stopped meanwhile. Returns their number. In the release build, which keeps no records: 0, errno ENOSYS.
 */
MPMM_API size_t mpmm_leak_check(void) MPMM_NOEXCEPT;
/**
 * Writes the heap's statistics to the file descriptor as text, one "name value" pair a line. On Windows it is 1 for standard output, 2 for
 * standard error, or a handle.
 */
MPMM_API void mpmm_debugger_print_stats(int file_descriptor) MPMM_NOEXCEPT;

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* MPMM_MPMM_H */
