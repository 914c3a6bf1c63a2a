/* SPDX-License-Identifier: Apache-2.0 */
#include "catalog.h"

#include <stdlib.h>
#include <string.h>

#define MOST 100
static struct book* books[MOST];

struct book* catalog_add(const char* title, int price) {
    for (int i = 0; i < MOST; ++i) {
        if (books[i] != NULL) continue;
        struct book* const book = malloc(sizeof *book);
        if (book == NULL) return NULL;
        strncpy(book->title, title, sizeof book->title - 1);
        book->title[sizeof book->title - 1] = 0;
        book->price = price;
        book->views = 0;
        books[i] = book;
        return book;
    }
    return NULL;
}

static int position(const char* title) {
    for (int i = 0; i < MOST; ++i)
        if (books[i] != NULL && strcmp(books[i]->title, title) == 0) return i;
    return -1;
}

struct book* catalog_find(const char* title) {
    const int i = position(title);
    return i < 0 ? NULL : books[i];
}

void catalog_remove(const char* title) {
    const int i = position(title);
    if (i < 0) return;
    free(books[i]);
    books[i] = NULL;
}

int catalog_views(void) {
    int sum = 0;
    for (int i = 0; i < MOST; ++i)
        if (books[i] != NULL) sum += books[i]->views;
    return sum;
}

void catalog_clear(void) {
    for (int i = 0; i < MOST; ++i) {
        free(books[i]);
        books[i] = NULL;
    }
}
