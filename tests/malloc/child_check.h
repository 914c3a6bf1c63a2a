/* SPDX-License-Identifier: Apache-2.0
 *
 * For programs that check themselves, in C and C++: a failed check is named on stderr, and counted for the exit status. */
#ifndef MPMM_TESTS_CHILD_CHECK_H
#define MPMM_TESTS_CHILD_CHECK_H

#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

extern int failed_checks;

#define CHECK(condition)                                                            \
    do {                                                                            \
        if (!(condition)) {                                                         \
            ++failed_checks;                                                        \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
        }                                                                           \
    } while (0)

/* Keeps the compiler from pairing a malloc with its free and removing both. */
#define ESCAPE(pointer) __asm__ volatile("" : : "g"(pointer) : "memory")

/* abi_c.c: everything the C library declares. `library` is part of the name of the file that malloc must come from. */
void check_c_functions(const char* library);
/* abi_cxx.cpp: every operator new and delete. */
void check_cxx_operators(const char* library);

#ifdef __cplusplus
}
#endif

#endif
