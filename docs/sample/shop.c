/* SPDX-License-Identifier: Apache-2.0
 * A shop with a mistake in it, for docs/verify.md to find. It runs to its end and looks right, but one count is sometimes wrong. */
#include "catalog.h"
#include "visitor.h"

#include <stdio.h>

static void sell(const char* title) {
    printf("sold: %s\n", title);
    catalog_remove(title);
}

int main(void) {
    struct visitor anna = {"Anna", 0};
    catalog_add("Fundamental Algorithms", 60);
    catalog_add("Seminumerical Algorithms", 55);
    visitor_open(&anna, "Fundamental Algorithms");
    visitor_turn_page(&anna);
    sell("Fundamental Algorithms");
    catalog_add("Sorting and Searching", 65);
    visitor_turn_page(&anna);
    printf("pages turned: %d\n", catalog_views());
    catalog_clear();
    return 0;
}
