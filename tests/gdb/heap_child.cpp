// SPDX-License-Identifier: Apache-2.0
// A program with a heap that is known, for gdb to look at when it stops in stop_here(): live and freed blocks of sizes nobody else has,
// leaks, blocks of a thread that is there and of one that ended, large and huge blocks. With a number as argument, so many small blocks.
//
// Addresses that nothing may point to are kept inverted.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <pthread.h>

namespace {

constexpr std::size_t live_size = 3000, from_thread_size = 5000, combined_size = 1500, orphan_size = 2600, leaked_size = 700;

}  // namespace

extern "C" {
// Read by the test through gdb.
void* live[10];
void* freed;
void* from_thread[20];
void* combined[20];
void* orphans[2];
void* made_by_new;
void* large;
void* huge;
void* large_freed;
struct Node {
    Node* next;
    char rest[5000];
};
Node* chain;  // a block that is only reached through another one
thread_local void* in_thread;
std::uintptr_t leaked_inverted, indirect_inverted, thread_local_inverted, chained_inverted;
void** many;
void stop_here() { asm volatile("" ::: "memory"); }
}

namespace {

pthread_barrier_t barrier;

void* allocating_thread(void*) {
    for (void*& block : from_thread) block = std::malloc(from_thread_size);
    for (void*& block : combined) block = std::malloc(combined_size);
    in_thread = std::malloc(1900);
    std::memset(in_thread, 0, 1900);
    thread_local_inverted = ~reinterpret_cast<std::uintptr_t>(in_thread);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    return nullptr;
}

void* ending_thread(void*) {
    for (void*& block : orphans) block = std::malloc(orphan_size);
    return nullptr;
}

/// Five blocks lost, and one that only a lost one points to.
[[gnu::noinline]] void make_leak() {
    for (int i = 0; i < 5; ++i) {
        void** volatile block = static_cast<void**>(std::malloc(leaked_size));
        std::memset(block, 0, leaked_size);
        leaked_inverted = ~reinterpret_cast<std::uintptr_t>(block);
        if (i == 4) {
            block[3] = std::malloc(6000);
            std::memset(block[3], 0, 6000);
            indirect_inverted = ~reinterpret_cast<std::uintptr_t>(block[3]);
        }
    }
}

char elsewhere[8192];

/// Writes over what make_leak() left on the stack and in registers.
[[gnu::noinline]] void clear_traces() {
    volatile char rest[8192];
    for (volatile char& each : rest) each = 0;
    std::memset(elsewhere, 0, sizeof elsewhere);
}

void build() {
    for (void*& block : live) block = std::malloc(live_size);
    freed = std::malloc(live_size);
    std::free(freed);
    made_by_new = ::operator new(3300);
    chain = static_cast<Node*>(std::calloc(1, sizeof(Node)));
    chain->next = static_cast<Node*>(std::calloc(1, sizeof(Node)));
    chained_inverted = ~reinterpret_cast<std::uintptr_t>(chain->next);
    large = std::malloc(5000000);
    huge = std::malloc(std::size_t{80} << 20);
    large_freed = std::malloc(3000000);
    std::free(large_freed);
}

}  // namespace

int main(int count, char** arguments) {
    if (count > 1) {
        const auto blocks = static_cast<std::size_t>(std::atol(arguments[1]));
        many = static_cast<void**>(std::malloc(blocks * sizeof *many));
        for (std::size_t i = 0; i < blocks; ++i) {
            many[i] = std::malloc(16 + i % 32);
            // Every thousandth is lost.
            if (i % 1000 == 0) many[i] = nullptr;
        }
        stop_here();
        return 0;
    }
    build();
    pthread_t first, second;
    pthread_barrier_init(&barrier, nullptr, 2);
    if (pthread_create(&first, nullptr, &allocating_thread, nullptr) != 0) return 1;
    // One after the other, so that each has a cache of its own.
    pthread_barrier_wait(&barrier);
    if (pthread_create(&second, nullptr, &ending_thread, nullptr) != 0) return 1;
    pthread_join(second, nullptr);
    for (int i = 0; i < 4; ++i) std::free(from_thread[i]);
    for (int i = 0; i < 3; ++i) std::free(combined[i]);
    make_leak();
    clear_traces();
    stop_here();
    pthread_barrier_wait(&barrier);
    pthread_join(first, nullptr);
    return 0;
}
