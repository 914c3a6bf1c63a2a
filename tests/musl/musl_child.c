/* SPDX-License-Identifier: Apache-2.0
 *
 * A C program that is linked statically with musl and the drop-in library: every block, musl's own among them, is MPMM's. */
#define _GNU_SOURCE
#include "malloc/child_check.h"
#include "mpmm/mpmm.h"

#include <dirent.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int failed_checks = 0;

enum { threads = 4, rounds = 20000, slots = 256 };

static int is_mpmm(const void* block) {
    const mpmm_address_info info = mpmm_debugger_find(block);
    return info.kind == MPMM_ADDRESS_LIVE && info.block == block;
}

static mpmm_stats stats(void) {
    mpmm_stats now;
    memset(&now, 0, sizeof now);
    now.struct_size = sizeof now;
    mpmm_get_stats(&now);
    return now;
}

static void check_functions(void) {
    const size_t beyond = (size_t)PTRDIFF_MAX + 1;
    char* block = malloc(100);
    void* aligned = NULL;
    CHECK(is_mpmm(block) && malloc_usable_size(block) >= 100);
    block = realloc(block, 3000000);
    CHECK(is_mpmm(block));
    memset(block, 1, 3000000);
    free(block);
    block = calloc(1000, 7);
    CHECK(is_mpmm(block) && block[0] == 0 && memcmp(block, block + 1, 6999) == 0);
    free(block);
    CHECK(posix_memalign(&aligned, 4096, 10) == 0 && (uintptr_t)aligned % 4096 == 0 && is_mpmm(aligned));
    free(aligned);
    aligned = aligned_alloc(256, 256);
    CHECK((uintptr_t)aligned % 256 == 0 && is_mpmm(aligned));
    free(aligned);
    aligned = memalign(64, 1000);
    CHECK((uintptr_t)aligned % 64 == 0 && is_mpmm(aligned));
    free(aligned);
    errno = 0;
    ESCAPE(&beyond);
    CHECK(malloc(beyond) == NULL && errno == ENOMEM);
}

/* What musl allocates for a program comes from the program's malloc. */
static void check_the_librarys_own(void) {
    char* copy = strdup("a copy");
    char* line = NULL;
    char* text = NULL;
    size_t size = 0;
    FILE* file = fopen("/proc/self/maps", "r");
    DIR* const directory = opendir("/");
    CHECK(is_mpmm(copy));
    free(copy);
    CHECK(directory != NULL && is_mpmm(directory));
    if (directory != NULL) closedir(directory);
    CHECK(file != NULL && is_mpmm(file) && getline(&line, &size, file) > 0 && is_mpmm(line));
    if (file != NULL) fclose(file);
    free(line);
    CHECK(asprintf(&text, "%0500d", 5) == 500 && is_mpmm(text));
    free(text);
    text = getcwd(NULL, 0);
    CHECK(is_mpmm(text));
    free(text);
}

static void* shared[slots];

/* Passes blocks on to whoever comes by next. */
static void* pass_blocks_on(void* argument) {
    unsigned random = (unsigned)(uintptr_t)argument + 1;
    for (int i = 0; i < rounds; ++i) {
        random = random * 1664525 + 1013904223;
        const size_t size = 8 + (random >> 8) % (random % 64 == 0 ? 100000 : 500);
        unsigned char* const block = malloc(size);
        if (block == NULL) return argument;
        memset(block, (int)(size & 0xFF), size);
        memcpy(block, &size, sizeof size);
        unsigned char* const old = __atomic_exchange_n(&shared[(random >> 16) % slots], block, __ATOMIC_ACQ_REL);
        if (old != NULL) {
            size_t was = 0;
            memcpy(&was, old, sizeof was);
            if (was > sizeof was && old[was - 1] != (was & 0xFF)) return argument;
            free(old);
        }
    }
    return NULL;
}

static void check_threads(void) {
    const size_t caches = stats().thread_caches;
    for (int round = 0; round < 3; ++round) {
        pthread_t running[threads];
        for (int i = 0; i < threads; ++i) CHECK(pthread_create(&running[i], NULL, pass_blocks_on, (void*)(uintptr_t)(i + 1)) == 0);
        for (int i = 0; i < threads; ++i) {
            void* result = NULL;
            CHECK(pthread_join(running[i], &result) == 0 && result == NULL);
        }
    }
    /* Their caches came back at their ends. */
    CHECK(stats().thread_caches == caches);
    for (int i = 0; i < slots; ++i) {
        free(shared[i]);
        shared[i] = NULL;
    }
    CHECK(mpmm_verify_heap() == 0);
}

static void check_fork(void) {
    char* const before = malloc(500);
    memset(before, 7, 500);
    const pid_t child = fork();
    if (child == 0) {
        free(before);
        for (int i = 0; i < 1000; ++i) free(malloc((size_t)i * 50));
        check_threads();
        _exit(failed_checks);
    }
    int status = -1;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    CHECK(before[499] == 7);
    free(before);
}

int main(void) {
    check_functions();
    check_the_librarys_own();
    check_threads();
    check_fork();
    CHECK(mpmm_trim(0) == 1);
    if (failed_checks == 0) puts("all checks passed");
    return failed_checks != 0;
}
