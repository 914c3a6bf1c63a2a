/* SPDX-License-Identifier: Apache-2.0
 *
 * clean_c CASE: a C program without the C++ runtime does what programs may do; no report. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
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

/* From here on the process dies when it opens a file, starts a process or thread, or makes pipes and sockets. */
static int forbid_all_but_memory(void) {
    static const long calls[] = {
#ifdef SYS_open
        SYS_open,   SYS_fork,  SYS_vfork,
#endif
        SYS_openat, SYS_clone, SYS_clone3, SYS_execve, SYS_ptrace, SYS_prctl, SYS_pipe2, SYS_process_vm_readv, SYS_socket,
    };
    enum { count = sizeof calls / sizeof *calls };
    static struct sock_filter filter[2 * count + 2] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
    for (int i = 0; i < count; ++i) {
        filter[2 * i + 1] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i], 0, 1);
        filter[2 * i + 2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    }
    filter[2 * count + 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    const struct sock_fprog program = {2 * count + 2, filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* In C, because the C++ runtime allocates before main, and the first guarded block was what opened a file. */
static void sandbox(void) {
    const pid_t child = fork();
    if (child == 0) {
        /* A kernel without filters has nothing to show. */
        if (!forbid_all_but_memory()) _exit(errno == EINVAL || errno == ENOSYS ? 0 : 1);
        for (size_t i = 0; i < 20000; ++i) {
            char* const block = malloc(i % 5000 + 1);
            must(block != NULL, "malloc");
            memset(block, 's', i % 5000 + 1);
            free(block);
        }
        /* The end of main looks for leaks, and opens files. */
        _exit(0);
    }
    int status = -1;
    must(child > 0 && waitpid(child, &status, 0) == child && status == 0, "the child's status");
}

static const struct {
    const char* name;
    void (*run)(void);
} cases[] = {{"strings", strings}, {"sorting", sorting},     {"threads", threads},
             {"files", files},     {"reachable", reachable}, {"sandbox", sandbox}};

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
