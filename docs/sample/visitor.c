/* SPDX-License-Identifier: Apache-2.0 */
#include "visitor.h"

#include "catalog.h"

void visitor_open(struct visitor* visitor, const char* title) { visitor->looking_at = catalog_find(title); }

void visitor_turn_page(struct visitor* visitor) {
    if (visitor->looking_at != 0) visitor->looking_at->views++;
}
