// SPDX-License-Identifier: Apache-2.0
// settings CASE commits an error whose report depends on verify's settings. Links nothing of the library.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <pthread.h>
#include <sys/resource.h>

extern "C" {

[[gnu::noinline]] char* allocate_the_block(std::size_t size) { return static_cast<char*>(std::malloc(size)); }
[[gnu::noinline]] void free_the_block(char* block) { std::free(block); }

}  // extern "C"

namespace {

[[gnu::noinline]] void go_deeper(int levels, char* block) {
    if (levels == 0) free_the_block(block);
    else go_deeper(levels - 1, block);
    asm volatile("");
}

void twice() {
    char* const block = allocate_the_block(40);
    go_deeper(5, block);
    free_the_block(block);
}
void far_overflow() {
    char* const block = allocate_the_block(100);
    static_cast<volatile char*>(block)[100 + 1000] = 1;
    free_the_block(block);
}
void overflow_and_go_on() {
    static_cast<volatile char*>(allocate_the_block(100))[100] = 1;
    allocate_the_block(100);
}
void odd_overread() {
    volatile char* const block = allocate_the_block(13);
    std::printf("read %d\n", block[13] != 0);
}
void lost() { asm volatile("" ::"r"(allocate_the_block(700))); }

/// Threads that report over and over, at the same time.
void many_at_once() {
    constexpr int threads = 4;
    pthread_t started[threads];
    const auto work = [](void*) -> void* {
        for (int i = 0; i < 10; ++i) {
            char* const block = allocate_the_block(40);
            free_the_block(block);
            free_the_block(block);
        }
        return nullptr;
    };
    for (pthread_t& thread : started)
        if (::pthread_create(&thread, nullptr, work, nullptr) != 0) std::_Exit(90);
    for (const pthread_t thread : started) ::pthread_join(thread, nullptr);
}

const struct {
    const char* name;
    void (*run)();
} cases[] = {{"twice", twice}, {"far_overflow", far_overflow}, {"overflow_and_go_on", overflow_and_go_on}, {"odd_overread", odd_overread},
             {"lost", lost},   {"many_at_once", many_at_once}};

}  // namespace

int main(int count, char** arguments) {
    if (count != 2) return 2;
    const rlimit none{};
    ::setrlimit(RLIMIT_CORE, &none);
    for (const auto& each : cases)
        if (std::strcmp(each.name, arguments[1]) == 0) {
            each.run();
            std::puts("done");
            return 0;
        }
    return 91;
}
