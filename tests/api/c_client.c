/* SPDX-License-Identifier: Apache-2.0
 *
 * A C program as a client: strict C11, every function of the header is there, and a few do what they say. */
#include "mpmm/mpmm.h"

#include <stdio.h>
#include <string.h>

static int failures = 0;

static void check(int good, const char* what) {
    if (good) return;
    fprintf(stderr, "failed: %s\n", what);
    ++failures;
}
#define CHECK(condition) check((condition), #condition)

static int count_blocks(void* block, size_t usable_size, void* context) {
    (void)block;
    *(size_t*)context += usable_size != 0;
    return 0;
}

/* Taking each address makes the linker look every function up. */
typedef void (*any_function)(void);
static const any_function all_functions[] = {(any_function)mpmm_version,
                                             (any_function)mpmm_backend_page_size,
                                             (any_function)mpmm_backend_chunk_size,
                                             (any_function)mpmm_backend_allocate,
                                             (any_function)mpmm_backend_deallocate,
                                             (any_function)mpmm_backend_purge,
                                             (any_function)mpmm_backend_fixed_region,
                                             (any_function)mpmm_init,
                                             (any_function)mpmm_set_option,
                                             (any_function)mpmm_malloc,
                                             (any_function)mpmm_zalloc,
                                             (any_function)mpmm_aligned_alloc,
                                             (any_function)mpmm_aligned_zalloc,
                                             (any_function)mpmm_free,
                                             (any_function)mpmm_free_unsized,
                                             (any_function)mpmm_realloc,
                                             (any_function)mpmm_resize,
                                             (any_function)mpmm_round_size,
                                             (any_function)mpmm_good_alignment,
                                             (any_function)mpmm_usable_size,
                                             (any_function)mpmm_malloc_batch,
                                             (any_function)mpmm_free_batch,
                                             (any_function)mpmm_tcache_init,
                                             (any_function)mpmm_tcache_flush,
                                             (any_function)mpmm_tcache_release,
                                             (any_function)mpmm_tcache_malloc,
                                             (any_function)mpmm_tcache_free,
                                             (any_function)mpmm_lcache_malloc,
                                             (any_function)mpmm_lcache_free,
                                             (any_function)mpmm_lcache_purge,
                                             (any_function)mpmm_persistent_alloc,
                                             (any_function)mpmm_persistent_used,
                                             (any_function)mpmm_purge,
                                             (any_function)mpmm_trim,
                                             (any_function)mpmm_get_stats,
                                             (any_function)mpmm_heap_walk,
                                             (any_function)mpmm_verify_heap,
                                             (any_function)mpmm_debugger_find,
                                             (any_function)mpmm_debugger_print_stats};

int main(void) {
    mpmm_options options = {sizeof(mpmm_options), NULL, "decay_ms=500"};
    mpmm_stats stats = {0};
    mpmm_address_info info;
    size_t walked = 0, i = 0;
    char* block = NULL;

    for (i = 0; i < sizeof all_functions / sizeof all_functions[0]; ++i) CHECK(all_functions[i] != NULL);
    CHECK(mpmm_init(&options) == 0);
    block = mpmm_malloc(100);
    CHECK(block != NULL);
    strcpy(block, "contents");
    block = mpmm_realloc(block, 100, 100000);
    CHECK(block != NULL && strcmp(block, "contents") == 0);
    info = mpmm_debugger_find(block + 5);
    CHECK(info.kind == MPMM_ADDRESS_LIVE && info.block == block && info.offset == 5);
    stats.struct_size = sizeof stats;
    CHECK(mpmm_get_stats(&stats) == 0 && stats.used_blocks == 1);
    CHECK(mpmm_heap_walk(count_blocks, &walked) == 0 && walked == 1);
    mpmm_free(block, 100000);
    CHECK(mpmm_verify_heap() == 0);
    return failures != 0;
}
