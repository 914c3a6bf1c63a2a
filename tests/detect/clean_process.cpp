// SPDX-License-Identifier: Apache-2.0
// Clean programs that fork, load plugins, handle signals, and end in every way.
#include "detect/clean.hpp"

#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <dlfcn.h>
#include <spawn.h>
#include <string>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

extern char** environ;

namespace mpmm::detect {
namespace {

char own_path[] = "/proc/self/exe";

void ended_well(pid_t child) {
    int status = -1;
    must(child > 0 && ::waitpid(child, &status, 0) == child, "child");
    must(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child's status");
}

void fork_and_free() {
    std::vector<std::string> texts(200, std::string(300, 'f'));
    char* const block = filled(std::malloc(5000), 5000, 'f');
    for (int i = 0; i < 5; ++i) {
        const pid_t child = ::fork();
        if (child == 0) {
            std::free(block);
            texts.clear();
            texts.resize(300, std::string(400, 'c'));
            must(texts.back().size() == 400, "text");
            // Half of them run the exit handlers, and with them whatever looks for leaks.
            if (i % 2 == 0) ::_exit(0);
            texts.clear();
            texts.shrink_to_fit();
            std::exit(0);
        }
        ended_well(child);
    }
    std::free(block);
}

void fork_and_exec() {
    const std::string held(1000, 'h');
    const pid_t child = ::fork();
    if (child == 0) {
        ::execl(own_path, "clean", "nothing", nullptr);
        ::_exit(127);
    }
    ended_well(child);
}

void vfork_and_exec() {
    const std::string held(1000, 'h');
    const pid_t child = ::vfork();
    if (child == 0) {
        ::execl(own_path, "clean", "nothing", nullptr);
        ::_exit(127);
    }
    ended_well(child);
}

void spawn() {
    char name[] = "clean", argument[] = "nothing";
    char* const arguments[] = {name, argument, nullptr};
    pid_t child = 0;
    must(::posix_spawn(&child, own_path, nullptr, nullptr, arguments, environ) == 0, "posix_spawn");
    ended_well(child);
}

void plugin() {
    for (int i = 0; i < 3; ++i) {
        void* const library = ::dlopen(MPMM_DETECT_PLUGIN, RTLD_NOW);
        must(library != nullptr, "dlopen");
        auto* const make = reinterpret_cast<char* (*)()>(::dlsym(library, "plugin_make"));
        must(make != nullptr, "dlsym");
        // A block outlives the code that made it.
        char* const block = make();
        must(::dlclose(library) == 0, "dlclose");
        must(std::strcmp(block, "plugin") == 0, "block");
        std::free(block);
    }
}

sigjmp_buf back;
volatile sig_atomic_t faults;

void recover(int) {
    faults = faults + 1;
    siglongjmp(back, 1);
}

void fault_at(std::uintptr_t address) {
    volatile char* const target = reinterpret_cast<volatile char*>(address);
    if (sigsetjmp(back, 1) == 0) {
        *target = 1;
        must(false, "a fault");
    }
}

void fault_and_recover(int flags) {
    struct sigaction action{};
    action.sa_handler = recover;
    action.sa_flags = flags;
    must(::sigaction(SIGSEGV, &action, nullptr) == 0, "sigaction");
    void* const closed = ::mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 3; ++i) {
        fault_at(0);
        fault_at(reinterpret_cast<std::uintptr_t>(closed));
        std::free(filled(std::malloc(1000), 1000, 's'));
    }
    must(faults == 6, "the handler's calls");
    struct sigaction current{};
    must(::sigaction(SIGSEGV, nullptr, &current) == 0 && current.sa_handler == recover, "the handler stays");
    ::munmap(closed, 4096);
}

void segv_handler() { fault_and_recover(0); }

void segv_on_other_stack() {
    static char stack[64 << 10];
    stack_t other{};
    other.ss_sp = stack;
    other.ss_size = sizeof stack;
    must(::sigaltstack(&other, nullptr) == 0, "sigaltstack");
    fault_and_recover(SA_ONSTACK);
}

void signal_returns_what_was() {
    must(std::signal(SIGSEGV, recover) != SIG_ERR && std::signal(SIGSEGV, SIG_DFL) == recover, "the program's handler");
}

char* for_exit;
void at_exit_frees() {
    std::free(for_exit);
    const std::vector<std::string> texts(50, std::string(100, 'x'));
    must(texts.size() == 50, "text");
}

void exit_handlers() {
    for_exit = filled(std::malloc(700), 700, 'x');
    must(std::atexit(at_exit_frees) == 0, "atexit");
}

void quick_exit_handlers() {
    for_exit = filled(std::malloc(700), 700, 'x');
    must(std::at_quick_exit([] {
             at_exit_frees();
             say_done();
         }) == 0,
         "at_quick_exit");
    std::quick_exit(0);
}

void exit_at_once() {
    // What is lost is not looked for: nothing runs at _exit().
    filled(std::malloc(100), 100, 'l');
    say_done();
    ::_exit(0);
}

void exit_below_main() {
    const std::vector<std::string> held(10, std::string(100, 'h'));
    must(held.size() == 10, "held");
    say_done();
    std::exit(0);
}

constexpr CleanCase cases[] = {
    {"fork_and_free", fork_and_free},
    {"fork_and_exec", fork_and_exec},
    {"vfork_and_exec", vfork_and_exec},
    {"spawn", spawn},
    {"plugin", plugin},
    {"segv_handler", segv_handler},
    {"segv_on_other_stack", segv_on_other_stack},
    {"signal_returns_what_was", signal_returns_what_was},
    {"exit_handlers", exit_handlers},
    {"quick_exit_handlers", quick_exit_handlers},
    {"exit_at_once", exit_at_once},
    {"exit_below_main", exit_below_main},
};

}  // namespace

CleanCases clean_process_cases() { return {cases, std::size(cases)}; }

}  // namespace mpmm::detect
