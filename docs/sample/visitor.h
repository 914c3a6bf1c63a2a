/* SPDX-License-Identifier: Apache-2.0
 * Somebody who looks at books. */
#ifndef VISITOR_H
#define VISITOR_H

struct book;

struct visitor {
    const char* name;
    struct book* looking_at;
};

void visitor_open(struct visitor* visitor, const char* title);
void visitor_turn_page(struct visitor* visitor);

#endif
