/* SPDX-License-Identifier: Apache-2.0
 *
 * What libstdc++.a and libgcc_eh.a, built for the GNU C library, take from it and musl does not have. */
#define _GNU_SOURCE
#include <link.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>

char __libc_single_threaded = 0;

/* They refer to these weakly, which takes nothing out of a static library, and call them all the same. */
__attribute__((used)) static void* const wanted[] = {
    (void*)pthread_once,          (void*)pthread_key_create,   (void*)pthread_getspecific,    (void*)pthread_setspecific,
    (void*)pthread_create,        (void*)pthread_join,         (void*)pthread_detach,         (void*)pthread_self,
    (void*)pthread_mutex_lock,    (void*)pthread_mutex_unlock, (void*)pthread_mutex_trylock,  (void*)pthread_mutex_init,
    (void*)pthread_cond_wait,     (void*)pthread_cond_signal,  (void*)pthread_cond_broadcast, (void*)pthread_cond_destroy,
    (void*)pthread_mutex_destroy, (void*)pthread_key_delete,
};

uint32_t arc4random(void) {
    uint32_t value = 0;
    if (getrandom(&value, sizeof value, 0) != sizeof value) abort();
    return value;
}

struct dl_find_object {
    unsigned long long flags;
    void *map_start, *map_end;
    struct link_map* map;
    void* eh_frame;
    unsigned long long reserved[7];
};
struct question {
    uintptr_t at;
    struct dl_find_object* answer;
};

static _Thread_local struct link_map found;

static int ask(struct dl_phdr_info* info, size_t size, void* argument) {
    struct question* const question = argument;
    struct dl_find_object* const answer = question->answer;
    int inside = 0;
    (void)size;
    for (int i = 0; i < info->dlpi_phnum; ++i) {
        const ElfW(Phdr)* const header = info->dlpi_phdr + i;
        const uintptr_t begin = info->dlpi_addr + header->p_vaddr;
        if (header->p_type == PT_GNU_EH_FRAME) answer->eh_frame = (void*)begin;
        if (header->p_type != PT_LOAD || question->at - begin >= header->p_memsz) continue;
        answer->map_start = (void*)begin;
        answer->map_end = (void*)(begin + header->p_memsz);
        inside = 1;
    }
    found.l_addr = info->dlpi_addr;
    answer->map = &found;
    return inside;
}

int _dl_find_object(void* address, struct dl_find_object* answer) {
    struct question question = {(uintptr_t)address, answer};
    return dl_iterate_phdr(ask, &question) != 0 && answer->eh_frame != NULL ? 0 : -1;
}
