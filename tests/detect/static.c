// SPDX-License-Identifier: Apache-2.0
// A program with no dynamic linker: its C library allocates before anything of the library could start. static_program bad ends in a report.
#include <stdlib.h>
#include <unistd.h>

int main(int count, char** arguments) {
    (void)arguments;
    void* const block = malloc(10);
    free(block);
    if (count > 1) free(block);
    return write(1, "done\n", 5) == 5 ? 0 : 1;
}
