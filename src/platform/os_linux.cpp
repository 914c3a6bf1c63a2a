// SPDX-License-Identifier: Apache-2.0
#include "platform/os.hpp"

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

extern "C" char** environ;

namespace mpmm::os {
namespace {

/// Restores errno: a malloc that succeeds, and every free, must not change it.
struct KeepErrno {
    int saved = errno;
    ~KeepErrno() { errno = saved; }
};

}  // namespace

std::size_t page_size() { return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)); }

void* map(std::size_t size, void* hint) {
    const KeepErrno keep;
    void* const memory = ::mmap(hint, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? nullptr : memory;
}

bool unmap(void* address, std::size_t size) {
    const KeepErrno keep;
    return ::munmap(address, size) == 0;
}

bool purge(void* address, std::size_t size) {
    const KeepErrno keep;
    // The kernel rounds the end up: on a system with larger pages than the allocator's that would take what lies behind.
    static const std::uintptr_t mask = page_size() - 1;
    const auto start = reinterpret_cast<std::uintptr_t>(address), from = (start + mask) & ~mask, to = (start + size) & ~mask;
    return from == start && to == start + size && ::madvise(address, size, MADV_DONTNEED) == 0;
}

bool resize(void* address, std::size_t old_size, std::size_t new_size) {
    const KeepErrno keep;
    return ::mremap(address, old_size, new_size, 0) != MAP_FAILED;
}

bool move(void* from, std::size_t old_size, void* to, std::size_t new_size) {
    const KeepErrno keep;
    return ::mremap(from, old_size, new_size, MREMAP_MAYMOVE | MREMAP_FIXED, to) != MAP_FAILED;
}

void nap() {
    const KeepErrno keep;
    const timespec time{0, 1'000'000};
    // poll with a raw call: nanosleep() is a cancellation point, and the caller may hold locks.
    ::syscall(SYS_ppoll, nullptr, 0, &time, nullptr, 0);
}

bool is_mapped(const void* address, std::size_t size) {
    const KeepErrno keep;
    const std::uintptr_t page = page_size(), start = reinterpret_cast<std::uintptr_t>(address), end = start + size;
    if (end < start) return false;
    for (std::uintptr_t at = start & ~(page - 1); at < end; at += page) {
        unsigned char resident = 0;
        if (::mincore(reinterpret_cast<void*>(at), page, &resident) != 0) return false;
    }
    return true;
}

std::uint64_t now_ms() {
    timespec now;
    ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1000 + static_cast<std::uint64_t>(now.tv_nsec) / 1'000'000;
}

void wait(Atomic<std::uint32_t>& word, std::uint32_t expected) {
    const KeepErrno keep;
    ::syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
}

void wake_one(Atomic<std::uint32_t>& word) {
    const KeepErrno keep;
    ::syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

void write(int descriptor, const char* text, std::size_t size) {
    const KeepErrno keep;
    while (size != 0) {
        const ssize_t written = ::write(descriptor, text, size);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return;
        text += written;
        size -= static_cast<std::size_t>(written);
    }
}

const char* environment(const char* name) {
    if (environ == nullptr) return nullptr;
    const std::size_t length = std::strlen(name);
    for (char** entry = environ; *entry != nullptr; ++entry)
        if (std::strncmp(*entry, name, length) == 0 && (*entry)[length] == '=') return *entry + length + 1;
    return nullptr;
}

long process_id() { return ::getpid(); }

void abort() { std::abort(); }

}  // namespace mpmm::os
