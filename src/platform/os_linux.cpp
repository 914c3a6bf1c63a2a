// SPDX-License-Identifier: Apache-2.0
#include "platform/os.hpp"

#include "platform/signal_safe.hpp"

#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <linux/futex.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

extern "C" char** environ;

namespace mpmm::os {
namespace {

/// A small file's content; 0 bytes when it cannot be read.
std::size_t read_file(const char* path, char* text, std::size_t size) {
    const KeepErrno keep;
    const NoCancellation whole;
    const int descriptor = ::open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return 0;
    const ssize_t length = ::read(descriptor, text, size);
    ::close(descriptor);
    return length < 0 ? 0 : static_cast<std::size_t>(length);
}

/// The threads of this process, or 0 when the system does not tell.
std::size_t thread_count() {
    char text[1024];
    const std::size_t length = read_file("/proc/self/stat", text, sizeof text - 1);
    text[length] = 0;
    // The 20th field; the second is in parentheses and may hold anything.
    const char* at = std::strrchr(text, ')');
    for (int field = 2; at != nullptr && field < 20; ++field) at = std::strchr(at + 1, ' ');
    std::size_t count = 0;
    for (at = at == nullptr ? "" : at + 1; *at >= '0' && *at <= '9'; ++at) count = count * 10 + static_cast<std::size_t>(*at - '0');
    return count;
}

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
    // The kernel rounds the end up, and would take what lies behind; what is not whole pages was not rounded as whole_page() says.
    const std::uintptr_t mask = page_size() - 1;
    const auto start = reinterpret_cast<std::uintptr_t>(address), from = (start + mask) & ~mask, to = (start + size) & ~mask;
    return from == start && to == start + size && ::madvise(address, size, MADV_DONTNEED) == 0;
}

bool resize(void* address, std::size_t old_size, std::size_t new_size) {
    const KeepErrno keep;
    return ::mremap(address, old_size, new_size, 0) != MAP_FAILED;
}

bool move(void* from, std::size_t old_size, void* to, std::size_t new_size) {
    const KeepErrno keep;
    if (::mremap(from, old_size, new_size, MREMAP_MAYMOVE | MREMAP_FIXED, to) != MAP_FAILED) return true;
    // A sandbox that forbids it does so before anything happened. Otherwise these addresses may be unmapped already, and somebody else's.
    if (errno == EPERM || errno == ENOSYS) ::munmap(to, new_size);
    return false;
}

void* reserve(std::size_t size, bool accessible) {
    const KeepErrno keep;
    void* const memory =
        ::mmap(nullptr, size, accessible ? PROT_READ | PROT_WRITE : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? nullptr : memory;
}

std::size_t address_limit() {
    const KeepErrno keep;
    std::size_t least = SIZE_MAX;
    for (const auto resource : {RLIMIT_AS, RLIMIT_DATA}) {
        rlimit limit{};
        if (::getrlimit(resource, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < least)
            least = static_cast<std::size_t>(limit.rlim_cur);
    }
    return least;
}

bool protect(void* address, std::size_t size, bool accessible) {
    const KeepErrno keep;
    return ::mprotect(address, size, accessible ? PROT_READ | PROT_WRITE : PROT_NONE) == 0;
}

void use_huge_pages(void* address, std::size_t size) {
    const KeepErrno keep;
    ::madvise(address, size, MADV_HUGEPAGE);
}

void dump(void* address, std::size_t size, bool wanted) {
    const KeepErrno keep;
    ::madvise(address, size, wanted ? MADV_DODUMP : MADV_DONTDUMP);
}

std::size_t max_mappings() {
    char text[32];
    const std::size_t length = read_file("/proc/sys/vm/max_map_count", text, sizeof text);
    std::size_t value = 0;
    for (std::size_t i = 0; i < length && text[i] >= '0' && text[i] <= '9'; ++i)
        value = value * 10 + static_cast<std::size_t>(text[i] - '0');
    return value != 0 ? value : 32768;
}

void nap() {
#ifdef MPMM_SCHEDULE_BUILD
    if (schedule::scheduler != nullptr) return cpu_relax();
#endif
    const KeepErrno keep;
    // poll with a raw call: nanosleep() is a cancellation point, and the caller may hold locks. The kernel's struct timespec.
    const long time[2] = {0, 1'000'000};
    ::syscall(SYS_ppoll, nullptr, 0, time, nullptr, 0);
}

bool is_readable(const void* address, std::size_t size) {
    const KeepErrno keep;
    const std::uintptr_t page = page_size(), start = reinterpret_cast<std::uintptr_t>(address), end = start + size;
    if (end < start) return false;
    // The kernel reads the signal set before it finds that the first argument makes no sense: a harmless way to have an address tried.
    for (std::uintptr_t at = start; at < end; at = (at & ~(page - 1)) + page) {
        constexpr long nonsense = 12345;
        const std::uintptr_t word = at & ~(sizeof(std::uint64_t) - 1);
        if (::syscall(SYS_rt_sigprocmask, nonsense, word, nullptr, sizeof(std::uint64_t)) != 0 && errno == EFAULT) return false;
    }
    return true;
}

std::uint64_t now_ms() {
    timespec now;
    ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1000 + static_cast<std::uint64_t>(now.tv_nsec) / 1'000'000;
}

void wait(Atomic<std::uint32_t>& word, std::uint32_t expected) {
#ifdef MPMM_SCHEDULE_BUILD
    if (schedule::scheduler != nullptr) return word.sleep(expected);
#endif
    const KeepErrno keep;
    ::syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
}

void wake_one(Atomic<std::uint32_t>& word) {
#ifdef MPMM_SCHEDULE_BUILD
    if (schedule::scheduler != nullptr) return schedule::reach(schedule::Access::wake, &word, std::source_location::current());
#endif
    const KeepErrno keep;
    ::syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

void write(int descriptor, const char* text, std::size_t size) {
    const KeepErrno keep;
    const NoCancellation whole;
    while (size != 0) {
        const ssize_t written = ::write(descriptor, text, size);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return;
        text += written;
        size -= static_cast<std::size_t>(written);
    }
}

const char* environment(const char* name) {
    if (!has_environment()) return nullptr;
    const std::size_t length = std::strlen(name);
    for (char** entry = environ; *entry != nullptr; ++entry)
        if (std::strncmp(*entry, name, length) == 0 && (*entry)[length] == '=') return *entry + length + 1;
    return nullptr;
}

bool has_environment() { return environ != nullptr; }

bool is_privileged() { return ::getauxval(AT_SECURE) != 0; }

long process_id() { return ::getpid(); }

int thread_id() { return static_cast<int>(::syscall(SYS_gettid)); }

void thread_name(int id, char* name, std::size_t size) {
    char path[64] = "/proc/self/task/";
    char digits[12];
    std::size_t count = 0, end = std::strlen(path);
    do digits[count++] = static_cast<char>('0' + id % 10);
    while ((id /= 10) != 0);
    while (count != 0) path[end++] = digits[--count];
    std::memcpy(path + end, "/comm", 6);
    std::size_t length = read_file(path, name, size - 1);
    while (length != 0 && static_cast<unsigned char>(name[length - 1]) < ' ') --length;
    name[length] = 0;
}

int open_log(const char* path) {
    const KeepErrno keep;
    const NoCancellation whole;
    return ::open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
}

int spare_error_output() {
    const KeepErrno keep;
    // High, where no program counts on a number to be free.
    return ::fcntl(2, F_DUPFD_CLOEXEC, 900);
}

bool is_open(int descriptor) {
    const KeepErrno keep;
    return ::fcntl(descriptor, F_GETFD) >= 0;
}

void close(int descriptor) {
    const KeepErrno keep;
    const NoCancellation whole;
    ::close(descriptor);
}

void flush_output() {
    // All streams, unless another thread may hold one for as long as it likes.
    if (thread_count() == 1) std::fflush(nullptr);
    else ::fflush_unlocked(stdout);
}

void exit_now(int status) { ::_exit(status); }

void abort() { std::abort(); }

}  // namespace mpmm::os
