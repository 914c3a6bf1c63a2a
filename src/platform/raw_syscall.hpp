// SPDX-License-Identifier: Apache-2.0
// System calls without libc: no errno, no thread-local memory, no cancellation, no interception. For code that runs where libc may not,
// in a task that borrows another thread's thread-local memory.
#pragma once

#if defined(__linux__) && (defined(__x86_64__) || defined(__i386__) || defined(__aarch64__))
#define MPMM_RAW_SYSCALL 1

#include <cstddef>
#include <cstdint>
#include <sys/syscall.h>

namespace mpmm {

/// A value that the kernel gets in a register: an integer or a pointer.
struct SyscallWord {
    long value = 0;
    constexpr SyscallWord() = default;
    template <class T>
    SyscallWord(T* pointer) : value(static_cast<long>(reinterpret_cast<std::uintptr_t>(pointer))) {}
    constexpr SyscallWord(std::nullptr_t) {}
    constexpr SyscallWord(int number) : value(number) {}
    constexpr SyscallWord(long number) : value(number) {}
    constexpr SyscallWord(unsigned number) : value(static_cast<long>(number)) {}
    constexpr SyscallWord(unsigned long number) : value(static_cast<long>(number)) {}
};

/// The kernel's answer as it is: an error is its negative number.
inline long raw_syscall(long number, SyscallWord a = {}, SyscallWord b = {}, SyscallWord c = {}, SyscallWord d = {}, SyscallWord e = {},
                        SyscallWord f = {}) {
#if defined(__x86_64__)
    register long r10 asm("r10") = d.value;
    register long r8 asm("r8") = e.value;
    register long r9 asm("r9") = f.value;
    long result;
    asm volatile("syscall"
                 : "=a"(result)
                 : "a"(number), "D"(a.value), "S"(b.value), "d"(c.value), "r"(r10), "r"(r8), "r"(r9)
                 : "rcx", "r11", "memory");
    return result;
#elif defined(__i386__)
    // ebx may hold the GOT's address and ebp the frame's: what they are to hold for the kernel comes from memory.
    const long words[3] = {a.value, f.value, number};
    long result;
    asm volatile(
        "pushl %%ebx\n"
        "pushl %%ebp\n"
        "movl 4(%%eax), %%ebp\n"
        "movl (%%eax), %%ebx\n"
        "movl 8(%%eax), %%eax\n"
        "int $0x80\n"
        "popl %%ebp\n"
        "popl %%ebx\n"
        : "=a"(result)
        : "0"(words), "c"(b.value), "d"(c.value), "S"(d.value), "D"(e.value)
        : "memory");
    return result;
#else
    register long x8 asm("x8") = number;
    register long x0 asm("x0") = a.value;
    register long x1 asm("x1") = b.value;
    register long x2 asm("x2") = c.value;
    register long x3 asm("x3") = d.value;
    register long x4 asm("x4") = e.value;
    register long x5 asm("x5") = f.value;
    asm volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
#endif
}

/// pread64, whose offset takes two registers where registers have 32 bits.
inline long raw_pread(int descriptor, void* to, std::size_t size, std::uint64_t offset) {
#if defined(__i386__)
    return raw_syscall(SYS_pread64, descriptor, to, size, static_cast<unsigned long>(offset), static_cast<unsigned long>(offset >> 32));
#else
    return raw_syscall(SYS_pread64, descriptor, to, size, offset);
#endif
}

/// struct timespec of the calls that take one: the C library's may have another.
struct KernelTime {
    long seconds, nanoseconds;
};

/// Starts a task on its own stack, which ends with 16 bytes alignment at `stack_top`; it runs function(argument), whose result is its
/// exit code. It keeps the caller's thread pointer. The task's id, or a negative error.
inline long raw_clone(unsigned long flags, void* stack_top, int (*function)(void*), void* argument) {
#if defined(__i386__)
    // The argument where the function looks for it, with 16 bytes alignment, and the function below that.
    void** const frame = static_cast<void**>(stack_top) - 5;
    frame[0] = reinterpret_cast<void*>(function);
    frame[1] = argument;
#else
    void** const frame = static_cast<void**>(stack_top) - 2;
    frame[0] = argument;
    frame[1] = reinterpret_cast<void*>(function);
#endif
#if defined(__x86_64__)
    register long r10 asm("r10") = 0;
    register long r8 asm("r8") = 0;
    long result;
    asm volatile(
        "syscall\n"
        "testq %%rax, %%rax\n"
        "jnz 1f\n"
        "xorl %%ebp, %%ebp\n"
        "popq %%rdi\n"
        "popq %%rax\n"
        "callq *%%rax\n"
        "movl %%eax, %%edi\n"
        "movl $60, %%eax\n"
        "syscall\n"
        "hlt\n"
        "1:\n"
        : "=a"(result)
        : "a"(56L), "D"(flags), "S"(frame), "d"(0L), "r"(r10), "r"(r8)
        : "rcx", "r11", "memory");
    return result;
#elif defined(__i386__)
    // As above for ebx.
    long result;
    asm volatile(
        "pushl %%ebx\n"
        "movl %%edi, %%ebx\n"
        "xorl %%edi, %%edi\n"
        "int $0x80\n"
        "testl %%eax, %%eax\n"
        "jnz 1f\n"
        "xorl %%ebp, %%ebp\n"
        "popl %%eax\n"
        "calll *%%eax\n"
        "movl %%eax, %%ebx\n"
        "movl $1, %%eax\n"
        "int $0x80\n"
        "hlt\n"
        "1:\n"
        "popl %%ebx\n"
        : "=a"(result), "+D"(flags)
        : "0"(120L), "c"(frame), "d"(0L), "S"(0L)
        : "memory");
    return result;
#else
    register long x8 asm("x8") = 220;
    register unsigned long x0 asm("x0") = flags;
    register void* x1 asm("x1") = frame;
    register long x2 asm("x2") = 0;
    register long x3 asm("x3") = 0;
    register long x4 asm("x4") = 0;
    asm volatile(
        "svc 0\n"
        "cbnz x0, 1f\n"
        "mov x29, xzr\n"
        "mov x30, xzr\n"
        "ldp x0, x1, [sp], #16\n"
        "blr x1\n"
        "mov x8, #93\n"
        "svc 0\n"
        "brk #1\n"
        "1:\n"
        : "+r"(x0)
        : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4)
        : "memory");
    return static_cast<long>(x0);
#endif
}

}  // namespace mpmm

#endif
