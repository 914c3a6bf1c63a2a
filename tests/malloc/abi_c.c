/* SPDX-License-Identifier: Apache-2.0
 *
 * Exercises every allocation function of the C library, as any C program may call it. */
#define _GNU_SOURCE
#include "malloc/child_check.h"

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int failed_checks = 0;

/* Not declared by every C library; looked up, so that this program links without MPMM too. */
static void (*p_free_sized)(void*, size_t);
static void (*p_free_aligned_sized)(void*, size_t, size_t);
static void (*p_cfree)(void*);
void free_sized(void*, size_t) __attribute__((weak));
void free_aligned_sized(void*, size_t, size_t) __attribute__((weak));
void cfree(void*) __attribute__((weak));

/* Not constants for the compiler, which would warn of them. */
static volatile size_t size_max = SIZE_MAX, beyond = (size_t)PTRDIFF_MAX + 1, ptrdiff_max = PTRDIFF_MAX,
                       twice_root = (size_t)2 << 4 * sizeof(size_t), quarter = SIZE_MAX / 4 + 1, twenty_four = 24, zero = 0;
/* A failed reallocation leaves the block, which compilers warn of all the same. */
static void* (*volatile resize)(void*, size_t) = realloc;
static void* (*volatile resize_array)(void*, size_t, size_t) = reallocarray;

static void check_where_it_comes_from(const char* library) {
    static const char* const names[] = {"malloc",        "free",           "calloc",  "realloc",      "reallocarray",       "memalign",
                                        "aligned_alloc", "posix_memalign", "valloc",  "pvalloc",      "malloc_usable_size", "malloc_trim",
                                        "mallinfo",      "mallinfo2",      "mallopt", "malloc_stats", "malloc_info"};
    size_t i = 0;
    for (i = 0; i < sizeof names / sizeof names[0]; ++i) {
        Dl_info info;
        memset(&info, 0, sizeof info);
        CHECK(dladdr(dlsym(RTLD_DEFAULT, names[i]), &info) != 0);
        if (info.dli_fname == NULL || strstr(info.dli_fname, library) == NULL) {
            fprintf(stderr, "%s comes from %s\n", names[i], info.dli_fname == NULL ? "nowhere" : info.dli_fname);
            ++failed_checks;
        }
    }
    *(void**)&p_free_sized = free_sized != NULL ? (void*)free_sized : dlsym(RTLD_DEFAULT, "free_sized");
    *(void**)&p_free_aligned_sized = free_aligned_sized != NULL ? (void*)free_aligned_sized : dlsym(RTLD_DEFAULT, "free_aligned_sized");
    *(void**)&p_cfree = cfree != NULL ? (void*)cfree : dlsym(RTLD_DEFAULT, "cfree");
    CHECK(p_free_sized != NULL);
    CHECK(p_free_aligned_sized != NULL);
    CHECK(p_cfree != NULL);
}

static int aligned_to(const void* block, size_t alignment) { return (uintptr_t)block % alignment == 0; }
static int all_zero(const unsigned char* block, size_t size) {
    size_t i = 0;
    for (i = 0; i < size; ++i)
        if (block[i] != 0) return 0;
    return 1;
}

static void check_malloc_and_free(void) {
    static const size_t sizes[] = {0, 1, 7, 8, 9, 15, 16, 17, 100, 1000, 1024, 1025, 4096, 5000, 70000, 1048576, 3000000, 100000000};
    size_t i = 0;
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; ++i) {
        const size_t size = sizes[i];
        unsigned char* const block = malloc(size);
        unsigned char* const other = malloc(size);
        CHECK(block != NULL && other != NULL && block != other);
        CHECK(malloc_usable_size(block) >= size);
        CHECK(aligned_to(block, size >= 16 ? 16 : 8));
        if (size != 0) block[0] = block[size - 1] = 1;
        ESCAPE(block);
        errno = EDOM;
        free(block);
        free(other);
        CHECK(errno == EDOM);
    }
    errno = EDOM;
    free(NULL);
    CHECK(errno == EDOM);
    CHECK(malloc_usable_size(NULL) == 0);
    {
        const size_t impossible[] = {size_max, size_max - 4096, beyond, ptrdiff_max};
        for (i = 0; i < sizeof impossible / sizeof impossible[0]; ++i) {
            errno = 0;
            CHECK(malloc(impossible[i]) == NULL);
            CHECK(errno == ENOMEM);
        }
    }
}

static void check_calloc(void) {
    int round = 0;
    static const size_t sizes[] = {1, 8, 100, 5000, 50000, 1000000, 5000000, 80000000};
    size_t i = 0;
    for (round = 0; round < 3; ++round)
        for (i = 0; i < sizeof sizes / sizeof sizes[0]; ++i) {
            unsigned char* block = calloc(sizes[i], 1);
            CHECK(block != NULL && all_zero(block, sizes[i]));
            memset(block, 0xff, sizes[i]);
            ESCAPE(block);
            free(block);
            block = calloc(1, sizes[i]);
            CHECK(block != NULL && all_zero(block, sizes[i]));
            memset(block, 0xff, sizes[i]);
            ESCAPE(block);
            free(block);
        }
    {
        void* const empty = calloc(0, 10);
        void* const other = calloc(size_max, 0);
        CHECK(empty != NULL && other != NULL && empty != other);
        free(empty);
        free(other);
    }
    errno = 0;
    CHECK(calloc(size_max, 2) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(calloc(size_max / 2 + 2, 2) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(calloc(twice_root, twice_root / 4) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(calloc(1, beyond) == NULL && errno == ENOMEM);
}

static void check_realloc(void) {
    static const size_t sizes[] = {1, 8, 100, 1025, 5000, 70000, 1048576, 1048577, 5000000, 70000000, 3000000, 100000, 600, 10};
    unsigned char* block = resize(NULL, 5);
    size_t i = 0, at = 0, before = 5;
    CHECK(block != NULL);
    memset(block, 0x5e, 5);
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; ++i) {
        const size_t common = sizes[i] < before ? sizes[i] : before;
        block = resize(block, sizes[i]);
        CHECK(block != NULL);
        for (at = 0; at < common; at += common > 10000 ? 331 : 1) CHECK(block[at] == 0x5e);
        memset(block, 0x5e, sizes[i]);
        before = sizes[i];
        errno = 0;
        CHECK(resize(block, beyond) == NULL && errno == ENOMEM);
        errno = 0;
        CHECK(resize(block, size_max) == NULL && errno == ENOMEM);
        CHECK(block[0] == 0x5e && block[sizes[i] - 1] == 0x5e);
    }
    CHECK(resize(block, 0) == NULL);

    block = resize_array(NULL, 10, 10);
    CHECK(block != NULL && malloc_usable_size(block) >= 100);
    memset(block, 7, 100);
    block = resize_array(block, 1000, 10);
    CHECK(block != NULL && block[99] == 7);
    errno = 0;
    CHECK(resize_array(block, size_max / 2, 3) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(resize_array(block, 1, beyond) == NULL && errno == ENOMEM);
    CHECK(block[0] == 7);
    free(block);
}

static void check_aligned(void) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t alignment = 0;
    void* block = NULL;
    for (alignment = 1; alignment <= (size_t)64 << 20; alignment *= 2) {
        static const size_t sizes[] = {0, 1, 100, 4097, 3000000};
        size_t i = 0;
        for (i = 0; i < sizeof sizes / sizeof sizes[0]; ++i) {
            void* const first = memalign(alignment, sizes[i]);
            void* const second = aligned_alloc(alignment, sizes[i]);
            void* third = &alignment;
            CHECK(first != NULL && aligned_to(first, alignment) && malloc_usable_size(first) >= sizes[i]);
            CHECK(second != NULL && aligned_to(second, alignment) && malloc_usable_size(second) >= sizes[i]);
            CHECK(first != second);
            memset(first, 1, sizes[i]);
            memset(second, 2, sizes[i]);
            ESCAPE(first);
            free(first);
            p_free_aligned_sized(second, alignment, sizes[i]);
            errno = EDOM;
            if (alignment % sizeof(void*) != 0) {
                CHECK(posix_memalign(&third, alignment, sizes[i]) == EINVAL && third == &alignment);
            } else {
                CHECK(posix_memalign(&third, alignment, sizes[i]) == 0 && third != &alignment && aligned_to(third, alignment));
                memset(third, 3, sizes[i]);
                free(third);
            }
            CHECK(errno == EDOM);
        }
    }
    /* memalign rounds up to a power of two; the standard's functions refuse. */
    block = memalign(twenty_four, 10);
    CHECK(block != NULL && aligned_to(block, 32));
    free(block);
    block = memalign(zero, 10);
    CHECK(block != NULL);
    free(block);
    errno = 0;
    CHECK(aligned_alloc(twenty_four, 48) == NULL && errno == EINVAL);
    errno = 0;
    CHECK(aligned_alloc(zero, 48) == NULL && errno == EINVAL);
    CHECK(posix_memalign(&block, 24, 10) == EINVAL);
    CHECK(posix_memalign(&block, 0, 10) == EINVAL);
    CHECK(posix_memalign(&block, sizeof(void*) / 2, 10) == EINVAL);
    errno = EDOM;
    block = &alignment;
    CHECK(posix_memalign(&block, 64, beyond) == ENOMEM && block == &alignment && errno == EDOM);
    CHECK(posix_memalign(&block, SIZE_MAX / 2 + 1, 64) == ENOMEM && block == &alignment && errno == EDOM);
    errno = 0;
    CHECK(memalign(64, size_max) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(memalign(size_max, 64) == NULL && errno == EINVAL);
    errno = 0;
    CHECK(memalign(size_max / 4 + 1, 64) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(memalign(size_max / 2, 64) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(aligned_alloc(64, size_max - 32) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(aligned_alloc(quarter, ptrdiff_max) == NULL && errno == ENOMEM);

    block = valloc(100);
    CHECK(block != NULL && aligned_to(block, page));
    free(block);
    block = pvalloc(page + 1);
    CHECK(block != NULL && aligned_to(block, page) && malloc_usable_size(block) >= 2 * page);
    free(block);
    block = pvalloc(0);
    CHECK(block != NULL && malloc_usable_size(block) >= page);
    free(block);
    errno = 0;
    CHECK(valloc(size_max) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(pvalloc(size_max) == NULL && errno == ENOMEM);
}

static void check_other_frees(void) {
    p_free_sized(malloc(100), 100);
    p_free_sized(NULL, 0);
    p_free_aligned_sized(NULL, 16, 0);
    p_cfree(malloc(100));
    p_cfree(NULL);
}

static void check_statistics(void) {
    char text[4096];
    size_t length = 0;
    void* const small = malloc(1000);
    void* const large = malloc(50000000);
    const struct mallinfo2 info = mallinfo2();
    const struct mallinfo old = mallinfo();
    FILE* const file = tmpfile();
    ESCAPE(small);
    CHECK(info.uordblks >= 50001000);
    CHECK(info.hblkhd >= 50000000);
    CHECK(info.ordblks > 0);
    CHECK((size_t)(unsigned)old.uordblks >= 50001000);
    CHECK(file != NULL);
    CHECK(malloc_info(0, file) == 0);
    rewind(file);
    length = fread(text, 1, sizeof text - 1, file);
    text[length] = 0;
    CHECK(strncmp(text, "<malloc version=\"1\">", 20) == 0);
    CHECK(strstr(text, "</malloc>") != NULL);
    errno = 0;
    CHECK(malloc_info(1, file) == -1 && errno == EINVAL);
    fclose(file);
    CHECK(mallopt(M_MMAP_THRESHOLD, 100000) == 1);
    CHECK(mallopt(M_TRIM_THRESHOLD, 100000) == 1);
    free(large);
    CHECK(mallinfo2().hblkhd + 50000000 <= info.hblkhd);
    free(small);
    {
        void* blocks[50];
        int i = 0;
        for (i = 0; i < 50; ++i) memset(blocks[i] = malloc(1500000), 1, 1500000);
        for (i = 0; i < 50; ++i) free(blocks[i]);
    }
    CHECK(malloc_trim(0) == 1);
    CHECK(mallinfo2().keepcost == 0);
    malloc_stats();
}

void check_c_functions(const char* library) {
    check_where_it_comes_from(library);
    if (failed_checks != 0) return;
    check_malloc_and_free();
    check_calloc();
    check_realloc();
    check_aligned();
    check_other_frees();
    check_statistics();
}
