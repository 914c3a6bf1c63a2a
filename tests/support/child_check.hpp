// SPDX-License-Identifier: Apache-2.0
// Assertions of a forked child (EXPECT_EXIT): those of the framework would be lost with it, and may need memory.
#pragma once

#include <cstdio>
#include <unistd.h>

/// Ends the child with status 99 and the failed condition on stderr.
#define CHILD_CHECK(condition)                                                                        \
    do {                                                                                              \
        if (!(condition)) {                                                                           \
            std::fprintf(stderr, "child: %s:%d: %s does not hold\n", __FILE__, __LINE__, #condition); \
            ::_exit(99);                                                                              \
        }                                                                                             \
    } while (false)
