// SPDX-License-Identifier: Apache-2.0
// Reads the little that is needed of /proc/PID/task, through a descriptor of that directory and raw system calls.
#pragma once

#include "platform/raw_syscall.hpp"

#ifdef MPMM_RAW_SYSCALL

#include <cstddef>
#include <cstdint>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace mpmm::proc_task {

/// Calls visit(tid) for every thread the directory lists, until it says false. False when the directory cannot be read.
template <class Visit>
bool each(int directory, Visit&& visit) {
    // struct linux_dirent64: inode, offset, record length, type, name.
    constexpr std::size_t length_at = 16, name_at = 19;
    alignas(8) unsigned char buffer[4096];
    if (raw_syscall(SYS_lseek, directory, 0, SEEK_SET) < 0) return false;
    for (;;) {
        const long size = raw_syscall(SYS_getdents64, directory, buffer, sizeof buffer);
        if (size <= 0) return size == 0;
        for (long at = 0; at < size;) {
            int tid = 0;
            for (const unsigned char* name = buffer + at + name_at; *name >= '0' && *name <= '9'; ++name) tid = tid * 10 + (*name - '0');
            if (tid != 0 && !visit(tid)) return true;
            at += buffer[at + length_at] | buffer[at + length_at + 1] << 8;
        }
    }
}

/// Reads directory/TID/NAME; the number of bytes, 0 when there is nothing.
inline std::size_t read(int directory, int tid, const char* name, char* text, std::size_t capacity) {
    char path[64], digits[12];
    std::size_t length = 0, count = 0;
    for (int rest = tid; rest != 0; rest /= 10) digits[count++] = static_cast<char>('0' + rest % 10);
    while (count != 0) path[length++] = digits[--count];
    path[length++] = '/';
    while (*name != 0) path[length++] = *name++;
    path[length] = 0;
    const long file = raw_syscall(SYS_openat, directory, path, O_RDONLY | O_CLOEXEC, 0);
    if (file < 0) return 0;
    const long size = raw_syscall(SYS_read, file, text, capacity);
    raw_syscall(SYS_close, file);
    return size < 0 ? 0 : static_cast<std::size_t>(size);
}

/// The letter of the task's state as in proc(5), 'X' when it is gone.
inline char state(int directory, int tid) {
    char text[256];
    // The name before it is at most 64 bytes, and may hold parentheses itself: the last one counts.
    for (std::size_t at = read(directory, tid, "stat", text, sizeof text); at-- > 2;)
        if (text[at - 2] == ')' && text[at - 1] == ' ' && text[at] >= 'A') return text[at];
    return 'X';
}

/// What a task that sleeps in the kernel gave it: up to six arguments, then stack pointer and program counter. The number of words.
inline std::size_t blocked_words(int directory, int tid, std::uintptr_t (&words)[8]) {
    char text[256];
    const std::size_t size = read(directory, tid, "syscall", text, sizeof text);
    std::size_t count = 0;
    for (std::size_t at = 0; at + 2 < size && count < 8; ++at) {
        if (text[at] != '0' || text[at + 1] != 'x') continue;
        std::uintptr_t word = 0;
        for (at += 2; at < size; ++at) {
            const char c = text[at];
            if (c >= '0' && c <= '9') word = word << 4 | static_cast<unsigned>(c - '0');
            else if (c >= 'a' && c <= 'f') word = word << 4 | static_cast<unsigned>(c - 'a' + 10);
            else break;
        }
        words[count++] = word;
    }
    return count == 8 || count == 2 ? count : 0;
}

}  // namespace mpmm::proc_task

#endif
