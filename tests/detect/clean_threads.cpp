// SPDX-License-Identifier: Apache-2.0
// Clean programs with threads: blocks that others free, ends in any order, destructors that run late, stacks that are not the system's.
#include "detect/clean.hpp"

#include <atomic>
#include <chrono>
#include <pthread.h>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <ucontext.h>
#include <vector>

namespace mpmm::detect {
namespace {

void frees_of_others() {
    for (const std::size_t size : {24, 1000, 6000, 300 << 10}) {
        std::vector<char*> blocks(size > 100000 ? 20 : 1000);
        for (char*& block : blocks) block = filled(std::malloc(size), size, 'o');
        std::vector<std::thread> threads;
        for (std::size_t t = 0; t < 4; ++t)
            threads.emplace_back([&, t] {
                for (std::size_t i = t; i < blocks.size(); i += 4) std::free(blocks[i]);
            });
        for (std::thread& thread : threads) thread.join();
        for (char*& block : blocks) block = filled(std::malloc(size), size, 'p');
        for (char* const block : blocks) std::free(block);
    }
}

/// The allocating threads are gone before, while or after their blocks are freed.
void ends_in_any_order() {
    for (int order = 0; order < 20; ++order) {
        std::atomic<char*> given[50] = {};
        std::thread maker([&] {
            for (auto& slot : given) slot.store(filled(std::malloc(100), 100, 'e'));
        });
        if (order % 2 == 0) maker.join();
        std::thread taker([&] {
            for (auto& slot : given) {
                while (slot.load() == nullptr) std::this_thread::yield();
                std::free(slot.load());
            }
        });
        if (order % 2 != 0) maker.join();
        taker.join();
    }
}

struct Late {
    std::string text = std::string(1000, 't');
    std::vector<std::string> more{text, text};
    ~Late() {
        must(text.size() == 1000, "thread_local");
        const std::string last(2000, 'l');
        more.push_back(last);
    }
};
thread_local Late late;

void late_destructors() {
    static pthread_key_t key, again;
    const auto destroy = [](void* value) {
        std::free(value);
        std::free(filled(std::malloc(300), 300, 'd'));
    };
    // Destructors that set a value are called again, up to four times: after the allocator's own has run.
    const auto repeat = [](void* value) {
        const int left = *static_cast<int*>(value);
        std::free(value);
        if (left == 0) return;
        int* const next = static_cast<int*>(std::malloc(sizeof(int)));
        *next = left - 1;
        pthread_setspecific(again, next);
    };
    must(pthread_key_create(&key, destroy) == 0 && pthread_key_create(&again, repeat) == 0, "keys");
    for (int i = 0; i < 20; ++i)
        std::thread([] {
            must(late.text.size() == 1000, "thread_local");
            pthread_setspecific(key, std::malloc(500));
            int* const count = static_cast<int*>(std::malloc(sizeof(int)));
            *count = 3;
            pthread_setspecific(again, count);
        }).join();
}

void thousand_threads() {
    for (int round = 0; round < 20; ++round) {
        std::vector<std::thread> threads;
        for (int i = 0; i < 50; ++i)
            threads.emplace_back([i] {
                std::vector<std::string> texts(20, std::string(static_cast<std::size_t>(i) * 10, 's'));
                must(texts.back().size() == static_cast<std::size_t>(i) * 10, "text");
            });
        for (std::thread& thread : threads) thread.join();
    }
}

void detached_threads() {
    static std::atomic<int> ended{0};
    for (int i = 0; i < 20; ++i)
        std::thread([] {
            const std::string text(500, 'd');
            ended.fetch_add(text.size() == 500 ? 1 : 0);
        }).detach();
    while (ended.load() < 20) std::this_thread::yield();
}

/// A thread that still runs, and holds memory, when the process exits.
void running_at_exit() {
    static std::atomic<bool> ready{false};
    std::thread([] {
        char* const block = filled(std::malloc(1000), 1000, 'r');
        const std::vector<std::string> held(10, std::string(100, 'h'));
        ready.store(true);
        for (;;) {
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
            must(block[0] == 'r' && held.size() == 10, "held");
        }
    }).detach();
    while (!ready.load()) std::this_thread::yield();
}

constexpr std::size_t stack_size = 256 << 10;

void own_stacks() {
    for (const bool on_heap : {false, true}) {
        void* const stack = on_heap ? ::aligned_alloc(4096, stack_size)
                                    : ::mmap(nullptr, stack_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
        pthread_attr_t attributes;
        pthread_attr_init(&attributes);
        must(pthread_attr_setstack(&attributes, stack, stack_size) == 0, "setstack");
        pthread_t thread;
        const auto body = [](void*) -> void* {
            const std::vector<std::string> texts(100, std::string(100, 's'));
            must(texts[99].size() == 100, "text");
            return nullptr;
        };
        must(pthread_create(&thread, &attributes, body, nullptr) == 0, "thread");
        pthread_join(thread, nullptr);
        pthread_attr_destroy(&attributes);
        if (on_heap) std::free(stack);
        else ::munmap(stack, stack_size);
    }
}

ucontext_t main_context, fiber_context;

void fiber() {
    for (int i = 0; i < 50; ++i) {
        const std::vector<std::string> texts(20, std::string(200, 'f'));
        char* const block = filled(std::malloc(100), 100, 'f');
        must(swapcontext(&fiber_context, &main_context) == 0, "swapcontext");
        std::free(block);
    }
}

void fibers() {
    char* const stack = static_cast<char*>(std::malloc(stack_size));
    must(getcontext(&fiber_context) == 0, "getcontext");
    fiber_context.uc_stack.ss_sp = stack;
    fiber_context.uc_stack.ss_size = stack_size;
    fiber_context.uc_link = &main_context;
    makecontext(&fiber_context, fiber, 0);
    for (int i = 0; i <= 50; ++i) must(swapcontext(&main_context, &fiber_context) == 0, "swapcontext");
    std::free(stack);
}

constexpr CleanCase cases[] = {
    {"frees_of_others", frees_of_others},
    {"ends_in_any_order", ends_in_any_order},
    {"late_destructors", late_destructors},
    {"thousand_threads", thousand_threads},
    {"detached_threads", detached_threads},
    {"running_at_exit", running_at_exit},
    {"own_stacks", own_stacks},
    {"fibers", fibers},
};

}  // namespace

CleanCases clean_thread_cases() { return {cases, std::size(cases)}; }

}  // namespace mpmm::detect
