/* SPDX-License-Identifier: Apache-2.0
 * A fuzz target for the shop, for docs/fuzzing.md: each byte is something that happens in it. */
#include "../catalog.h"
#include "../visitor.h"

#include <mpmm/mpmm.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const char* const titles[] = {"Fundamental Algorithms", "Seminumerical Algorithms", "Sorting and Searching"};
    struct visitor anna = {"Anna", NULL};
    for (size_t i = 0; i < size; ++i) {
        const char* const title = titles[data[i] / 4 % 3];
        switch (data[i] % 4) {
            case 0: catalog_add(title, 60); break;
            case 1: catalog_remove(title); break;
            case 2: visitor_open(&anna, title); break;
            case 3: visitor_turn_page(&anna); break;
        }
    }
    catalog_clear();
    /* What this input broke is reported now, while libFuzzer still has it. It stops here and not in the check, which holds the heap's locks:
     * libFuzzer allocates when the process aborts. */
    mpmm_set_option("halt_on_error", "0");
    if (mpmm_verify_heap() != 0) abort();
    mpmm_set_option("halt_on_error", "1");
    return 0;
}
