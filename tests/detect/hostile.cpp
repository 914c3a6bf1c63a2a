// SPDX-License-Identifier: Apache-2.0
// hostile CASE commits errors with the heap where a report is hard to give: in threads that are cancelled, in signal handlers, on small
// stacks, with standard error closed. Links nothing of the library.
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <dlfcn.h>
#include <fcntl.h>
#include <initializer_list>
#include <malloc.h>
#include <pthread.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#include <utility>

namespace {

void must(bool condition, const char* what) {
    if (condition) return;
    std::fprintf(stderr, "failed: %s\n", what);
    std::_Exit(90);
}

void say(const char* text) { must(::write(1, text, std::strlen(text)) == static_cast<ssize_t>(std::strlen(text)), "write"); }

void free_twice() {
    void* const block = std::malloc(10);
    std::free(block);
    std::free(block);
}

void* cancelled_thread(void*) {
    // Pending from here on: the first cancellation point with cancellation enabled ends the thread, were it in the middle of a report.
    ::pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, nullptr);
    void* const block = std::malloc(10);
    std::free(block);
    ::pthread_cancel(::pthread_self());
    ::pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, nullptr);
    std::free(block);
    ::pthread_testcancel();
    return nullptr;
}

void report_in_cancelled_thread() {
    pthread_t thread{};
    void* result = nullptr;
    must(::pthread_create(&thread, nullptr, cancelled_thread, nullptr) == 0 && ::pthread_join(thread, &result) == 0, "thread");
    must(result == PTHREAD_CANCELED, "cancellation");
    free_twice();
    say("done\n");
}

void call_of_freed_block() {
    void* const block = std::malloc(64);
    std::free(block);
    reinterpret_cast<void (*)()>(block)();
    say("came back\n");
}

alignas(64) char around_stack[64 << 10];

void report_on_small_stack() {
    constexpr std::size_t size = 8 << 10, begin = sizeof around_stack - size;
    std::memset(around_stack, 0x5a, begin);
    stack_t small{};
    small.ss_sp = around_stack + begin;
    small.ss_size = size;
    must(::sigaltstack(&small, nullptr) == 0, "sigaltstack");
    char* const block = static_cast<char*>(std::malloc(64));
    // The library's handler runs on it as every handler that was asked to.
    static_cast<volatile char*>(block)[64] = 1;
    for (std::size_t i = 0; i < begin; ++i) must(around_stack[i] == 0x5a, "what lies below the stack");
    std::free(block);
    say("done\n");
}

/// Sends this process the signal again and again; not the alarm's timer, which ends a test that hangs.
void send_often(int signal, void (*handler)(int), long nanoseconds) {
    struct sigaction action{};
    action.sa_handler = handler;
    must(::sigaction(signal, &action, nullptr) == 0, "sigaction");
    sigevent event{};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = signal;
    timer_t timer{};
    const itimerspec often{{0, nanoseconds}, {0, nanoseconds}};
    must(::timer_create(CLOCK_MONOTONIC, &event, &timer) == 0 && ::timer_settime(timer, 0, &often, nullptr) == 0, "timer");
}

void exit_in_handler(int) { std::exit(7); }

void exit_during_check() {
    const auto check = reinterpret_cast<std::size_t (*)()>(::dlsym(RTLD_DEFAULT, "mpmm_verify_heap"));
    must(check != nullptr, "mpmm_verify_heap");
    static void* blocks[20000];
    for (std::size_t i = 0; i < 20000; ++i) {
        blocks[i] = std::malloc(100 + i % 2000);
        must(blocks[i] != nullptr, "memory");
    }
    send_often(SIGUSR1, exit_in_handler, 11000000);
    for (;;) check();
}

/// What libFuzzer does before it keeps an input, and many a crash reporter.
void allocate_in_handler(int) {
    for (std::size_t size = 1; size < 3'000'000; size += size / 3 + 1) std::free(std::calloc(1, size));
    ::malloc_trim(0);
    say("done\n");
    ::_exit(0);
}

void handler_allocates() {
    const auto check = reinterpret_cast<std::size_t (*)()>(::dlsym(RTLD_DEFAULT, "mpmm_verify_heap"));
    must(check != nullptr, "mpmm_verify_heap");
    std::signal(SIGABRT, allocate_in_handler);
    for (const std::size_t size : {std::size_t{100}, std::size_t{2'000'000}}) {
        auto* const block = static_cast<volatile char*>(std::malloc(size));
        must(block != nullptr, "memory");
        block[size] = 1;
    }
    check();
}

volatile sig_atomic_t errors;
void commit_errors(int) {
    if (errors >= 200) return;
    errors = errors + 1;
    int local = 0;
    std::free(&local);
    std::free(reinterpret_cast<char*>(const_cast<sig_atomic_t*>(&errors)) + 1);
}

void reports_in_signal_handler() {
    send_often(SIGUSR1, commit_errors, 500000);
    void* blocks[100]{};
    for (std::size_t i = 0; errors < 200; ++i) {
        std::free(blocks[i % 100]);
        blocks[i % 100] = std::malloc(i * 37 % 9000);
        if (i % 1000 == 0) free_twice();
    }
    for (void* const block : blocks) std::free(block);
    say("done\n");
}

[[gnu::noinline]] void lose_a_block() {
    volatile char* const block = static_cast<volatile char*>(std::malloc(100));
    block[0] = 1;
}

/// The pointer stays behind in the dead part of the stack, over which exit() will run.
void leak_with_closed_stderr() {
    lose_a_block();
    must(::close(2) == 0, "close");
    say("done\n");
}

void error_with_closed_stderr() {
    must(::close(2) == 0, "close");
    free_twice();
    say("done\n");
}

/// Blocks of one size are lost at so many places, the more a place loses the later it comes.
constexpr std::size_t leaking_places = 100;
template <std::size_t N>
[[gnu::noinline]] void lose_blocks() {
    volatile std::size_t left = N / 2 + 1;  // one call, in a loop
    while (left != 0) {
        lose_a_block();
        left = left - 1;
    }
}
template <std::size_t... N>
void lose_everywhere(std::index_sequence<N...>) {
    (lose_blocks<N>(), ...);
}

void leaks_at_many_places() {
    lose_everywhere(std::make_index_sequence<leaking_places>());
    say("done\n");
}

void deleted_program() {
    char path[4096];
    const ssize_t length = ::readlink("/proc/self/exe", path, sizeof path - 1);
    must(length > 0, "readlink");
    path[length] = 0;
    must(::unlink(path) == 0, "unlink");
    free_twice();
    say("done\n");
}

/// Not the library's business: a block that is not freed, and a page that the program itself closed.
void program_closes_its_page() {
    auto* const block = static_cast<volatile char*>(std::malloc(4096));
    must(block != nullptr && ::mprotect(const_cast<char*>(block), 4096, PROT_NONE) == 0, "mprotect");
    block[0] = 1;
    say("came back\n");
}

const char constant_data[] = "constant";
char global_variable[64];

void* free_all_of(void* argument) {
    void** const places = static_cast<void**>(argument);
    for (int i = 0; places[i] != nullptr; ++i) std::free(places[i]);
    return nullptr;
}

void frees_all_over() {
    char local[64];
    const int file = ::open("/proc/self/exe", O_RDONLY);
    must(file >= 0, "open");
    void* const mapped = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void* const of_file = ::mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, file, 0);
    must(mapped != MAP_FAILED && of_file != MAP_FAILED, "mmap");
    void* const vdso = reinterpret_cast<void*>(::getauxval(AT_SYSINFO_EHDR));
    void* places[] = {local, global_variable, const_cast<char*>(constant_data), reinterpret_cast<void*>(&free_twice), mapped, of_file,
                      vdso,  nullptr};
    pthread_t thread{};
    must(::pthread_create(&thread, nullptr, free_all_of, places) == 0 && ::pthread_join(thread, nullptr) == 0, "thread");
    say("done\n");
}

/// Before the C library has an environment, as runtimes of sanitizers and fuzzers do: the options must be read all the same, later.
void* volatile kept_from_the_beginning;
void allocate_first(int, char**, char**) { kept_from_the_beginning = std::malloc(100); }
[[gnu::used, gnu::section(".preinit_array")]] void (*const first)(int, char**, char**) = allocate_first;

struct Case {
    const char* name;
    void (*run)();
};
constexpr Case cases[] = {
    {"report_in_cancelled_thread", report_in_cancelled_thread},
    {"call_of_freed_block", call_of_freed_block},
    {"report_on_small_stack", report_on_small_stack},
    {"exit_during_check", exit_during_check},
    {"reports_in_signal_handler", reports_in_signal_handler},
    {"leak_with_closed_stderr", leak_with_closed_stderr},
    {"error_with_closed_stderr", error_with_closed_stderr},
    {"handler_allocates", handler_allocates},
    {"leaks_at_many_places", leaks_at_many_places},
    {"deleted_program", deleted_program},
    {"frees_all_over", frees_all_over},
    {"program_closes_its_page", program_closes_its_page},
};

}  // namespace

int main(int count, char** arguments) {
    if (count != 2) return 2;
    const rlimit none{};
    ::setrlimit(RLIMIT_CORE, &none);
    for (const Case& test : cases)
        if (std::strcmp(test.name, arguments[1]) == 0) {
            test.run();
            return 0;
        }
    return 91;
}
