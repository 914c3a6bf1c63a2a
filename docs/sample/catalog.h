/* SPDX-License-Identifier: Apache-2.0
 * The books of a small shop. */
#ifndef CATALOG_H
#define CATALOG_H

struct book {
    char title[40];
    int price;
    int views;
};

struct book* catalog_add(const char* title, int price);
struct book* catalog_find(const char* title);
void catalog_remove(const char* title);
int catalog_views(void);
void catalog_clear(void);

#endif
