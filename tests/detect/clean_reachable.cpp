// SPDX-License-Identifier: Apache-2.0
// Memory that is never freed but can be reached at exit is no leak, wherever the pointer to it is.
#include "detect/clean.hpp"

#include <atomic>
#include <cstdint>
#include <pthread.h>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>

namespace mpmm::detect {
namespace {

constexpr std::size_t sizes[] = {24, 1000, 6000, 300 << 10, 3 << 20, 80 << 20};
constexpr std::size_t count = std::size(sizes);

void* kept[count];
thread_local void* kept_by_thread[count];

void fill(void** into, std::size_t offset = 0) {
    for (std::size_t i = 0; i < count; ++i)
        into[i] = filled(std::malloc(sizes[i]), sizes[i], 'k') + (offset < sizes[i] ? offset : sizes[i] / 2);
}

/// Overwrites the dead part of the stack, so that only the place in question holds the pointers.
[[gnu::noinline]] void scrub() {
    volatile char dead[32 << 10];
    for (volatile char& byte : dead) byte = 0;
}

void in_globals() {
    fill(kept);
    scrub();
}
void interior_only() {
    fill(kept, 16);
    scrub();
}
/// The way of a growing array: the pointer stands at its last byte.
void last_byte_only() {
    for (std::size_t i = 0; i < count; ++i) kept[i] = filled(std::malloc(sizes[i]), sizes[i], 'k') + sizes[i] - 1;
    scrub();
}
void in_thread_local() {
    fill(kept_by_thread);
    scrub();
}

void in_mapping() {
    void* const mapping = ::mmap(nullptr, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(mapping != MAP_FAILED, "mmap");
    fill(static_cast<void**>(mapping) + 5000);
    scrub();
}

void in_old_heap() {
    void* const old = ::sbrk(4096);
    must(old != reinterpret_cast<void*>(-1), "sbrk");
    fill(static_cast<void**>(old) + 10);
    scrub();
}

/// Chains and cycles behind one pointer.
void in_list() {
    struct Node {
        Node* next;
        char bytes[200];
    };
    Node* first = nullptr;
    Node* last = nullptr;
    for (int i = 0; i < 2000; ++i) {
        first = new Node{first, {}};
        if (last == nullptr) last = first;
    }
    last->next = first;
    kept[0] = first;
    scrub();
}

void in_specific_value() {
    pthread_key_t key;
    must(pthread_key_create(&key, nullptr) == 0 && pthread_setspecific(key, filled(std::malloc(900), 900, 'k')) == 0, "key");
    scrub();
}

/// A thread that waits for ever with the only pointers on its stack, in its thread-local storage, or in a register.
void in_live_threads() {
    static std::atomic<int> ready{0};
    std::thread([] {
        void* on_stack[count];
        fill(on_stack);
        __asm__ volatile("" : : "r"(on_stack) : "memory");
        ready.fetch_add(1);
        for (;;) {
            ::pause();
            __asm__ volatile("" : : "r"(on_stack) : "memory");
        }
    }).detach();
    std::thread([] {
        fill(kept_by_thread);
        ready.fetch_add(1);
        for (;;) ::pause();
    }).detach();
    while (ready.load() < 2) std::this_thread::yield();
}

void in_register() {
#if defined(__x86_64__)
    static std::atomic<bool> ready{false};
    std::thread([] {
        void* block = filled(std::malloc(500), 500, 'k');
        scrub();
        // Spins with the pointer in r15 and nowhere else.
        __asm__ volatile(
            "mov %0, %%r15\n\t"
            "xor %0, %0\n\t"
            "movb $1, %1\n"
            "1: pause\n\t"
            "jmp 1b"
            : "+r"(block), "=m"(ready)
            :
            : "r15", "memory");
    }).detach();
    while (!ready.load()) std::this_thread::yield();
#endif
}

void from_main_stack() {
    void* on_stack[count];
    fill(on_stack);
    __asm__ volatile("" : : "r"(on_stack) : "memory");
    say_done();
    std::exit(0);
}

/// Objects of a class with several bases are held by a pointer to the second.
void by_second_base() {
    struct First {
        virtual ~First() = default;
        char bytes[40];
    };
    struct Second {
        virtual ~Second() = default;
        char bytes[40];
    };
    struct Both : First, Second {};
    kept[0] = static_cast<Second*>(new Both);
    kept[1] = new std::string[20];
    scrub();
}

constexpr CleanCase cases[] = {
    {"in_globals", in_globals},
    {"interior_only", interior_only},
    {"last_byte_only", last_byte_only},
    {"in_thread_local", in_thread_local},
    {"in_mapping", in_mapping},
    {"in_old_heap", in_old_heap},
    {"in_list", in_list},
    {"in_specific_value", in_specific_value},
    {"in_live_threads", in_live_threads},
    {"in_register", in_register},
    {"from_main_stack", from_main_stack},
    {"by_second_base", by_second_base},
};

}  // namespace

CleanCases clean_reachable_cases() { return {cases, std::size(cases)}; }

}  // namespace mpmm::detect
