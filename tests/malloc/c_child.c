/* SPDX-License-Identifier: Apache-2.0
 *
 * c_child LIBRARY: a program without a C++ runtime. With the argument "new" it asks the library's operator new for too much. */
#define _GNU_SOURCE
#include "malloc/child_check.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static int runtime_is_loaded(void) {
    char line[1024];
    int found = 0;
    FILE* const maps = fopen("/proc/self/maps", "r");
    CHECK(maps != NULL);
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL)
        if (strstr(line, "libstdc++") != NULL || strstr(line, "libc++") != NULL) found = 1;
    if (maps != NULL) fclose(maps);
    return found;
}

int main(int argc, char** argv) {
    if (argc != 2) return 2;
    if (strcmp(argv[1], "new") == 0) {
        void* (*operator_new)(size_t) = NULL;
        *(void**)&operator_new = dlsym(RTLD_DEFAULT, sizeof(size_t) == sizeof(long long) ? "_Znwm" : "_Znwj");
        void (*operator_delete)(void*) = NULL;
        *(void**)&operator_delete = dlsym(RTLD_DEFAULT, "_ZdlPv");
        if (operator_new == NULL || operator_delete == NULL) return 3;
        operator_delete(operator_new(100));
        operator_new(SIZE_MAX);
        return 4;
    }
    CHECK(!runtime_is_loaded());
    check_c_functions(argv[1]);
    if (failed_checks == 0) puts("all checks passed");
    return failed_checks != 0;
}
