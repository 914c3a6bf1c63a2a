/* SPDX-License-Identifier: Apache-2.0
 *
 * clean_c CASE: a C program without the C++ runtime does what programs may do; no report. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void must(int condition, const char* what) {
    if (condition) return;
    fprintf(stderr, "failed: %s\n", what);
    _exit(1);
}

static void strings(void) {
    char* text = NULL;
    size_t length = 0;
    for (int i = 0; i < 2000; ++i) {
        text = realloc(text, length + 8);
        must(text != NULL, "realloc");
        memcpy(text + length, "seven..", 8);
        length += 7;
    }
    must(strlen(text) == length, "length");
    free(text);
}

static int ascending(const void* a, const void* b) { return *(const int*)a - *(const int*)b; }

/* The C library's qsort allocates for itself. */
static void sorting(void) {
    enum { count = 20000 };
    int* const numbers = calloc(count, sizeof(int));
    for (int i = 0; i < count; ++i) numbers[i] = i * 7919 % count;
    qsort(numbers, count, sizeof(int), ascending);
    must(numbers[0] == 0 && numbers[count - 1] == count - 1, "sorted");
    free(numbers);
}

static void* free_all(void* argument) {
    char** const blocks = argument;
    for (int i = 0; i < 500; ++i) free(blocks[i]);
    return malloc(200);
}

static void threads(void) {
    static char* blocks[500];
    for (int round = 0; round < 20; ++round) {
        pthread_t thread;
        void* result = NULL;
        for (int i = 0; i < 500; ++i) blocks[i] = malloc((size_t)(i + 1));
        must(pthread_create(&thread, NULL, free_all, blocks) == 0 && pthread_join(thread, &result) == 0 && result != NULL, "thread");
        free(result);
    }
}

static void files(void) {
    for (int i = 0; i < 50; ++i) {
        FILE* const file = fopen("/proc/self/maps", "r");
        char* line = NULL;
        size_t room = 0;
        must(file != NULL, "open");
        while (getline(&line, &room, file) > 0) {
        }
        free(line);
        fclose(file);
    }
}

static void* volatile kept;
static void reachable(void) { kept = malloc(5000); }

static const struct {
    const char* name;
    void (*run)(void);
} cases[] = {{"strings", strings}, {"sorting", sorting}, {"threads", threads}, {"files", files}, {"reachable", reachable}};

int main(int count, char** arguments) {
    if (count != 2) return 2;
    const int list = strcmp(arguments[1], "--list") == 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
        if (list) puts(cases[i].name);
        else if (strcmp(cases[i].name, arguments[1]) == 0) {
            cases[i].run();
            must(write(1, "done\n", 5) == 5, "write");
            return 0;
        }
    }
    return list ? 0 : 91;
}
