// SPDX-License-Identifier: Apache-2.0
// misuse_child CASE: commits one error with the heap and then says "survived". Built twice: over malloc and free, and over the C API.
//
// What the checks rest on is the state of the allocator at the second free, so every case says exactly who frees what in which order.
// "settle" is what happens sooner or later in any program: buffers are published and remote maps drained.
#include "mpmm/mpmm.h"

#include <atomic>
#include <cstdio>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <vector>

namespace {

constexpr bool wide = sizeof(void*) == 8;

#ifdef MPMM_CHILD_API
void* take(std::size_t size) { return mpmm_malloc(size); }
void give(void* block) { mpmm_free_unsized(block); }
void* again(void* block, std::size_t old_size, std::size_t size) { return mpmm_realloc(block, old_size, size); }
#define API(name) (&(name))
#else
// Through pointers the compiler knows nothing about: it must not reason about freed blocks.
void* (*volatile take)(std::size_t) = &std::malloc;
void (*volatile give)(void*) = &std::free;
void* (*volatile change)(void*, std::size_t) = &std::realloc;
void* again(void* block, std::size_t, std::size_t size) { return change(block, size); }
template <class Function>
Function* exported(Function*, const char* name) {
    auto* const found = reinterpret_cast<Function*>(::dlsym(RTLD_DEFAULT, name));
    if (found == nullptr) std::_Exit(98);
    return found;
}
#define API(name) exported(static_cast<decltype(&(name))>(nullptr), #name)
#endif

void flush() { API(mpmm_tcache_flush)(); }
void settle() {
    flush();
    API(mpmm_purge)();
}
char* bytes(void* block) { return static_cast<char*>(block); }
template <class Body>
void in_thread(Body body) {
    std::thread(body).join();
}

/// A thread that does one thing after another when told to, and keeps its cache meanwhile.
class Worker {
  public:
    template <class... Steps>
    explicit Worker(Steps... steps) : thread_([this, steps...] { (run(steps), ...); }) {}
    ~Worker() { thread_.join(); }
    void next() {
        const int before = done_.load();
        go_.fetch_add(1);
        while (done_.load() == before) std::this_thread::yield();
    }

  private:
    template <class Step>
    void run(Step step) {
        while (go_.load() == done_.load()) std::this_thread::yield();
        step();
        done_.fetch_add(1);
    }
    std::atomic<int> go_{0}, done_{0};
    std::thread thread_;
};

/// An address of the allocator's near `block` that belongs to no block, in steps; a case that finds none cannot be tested.
void* unused_near(void* block, std::ptrdiff_t step, std::size_t range) {
    for (std::ptrdiff_t distance = step; distance < static_cast<std::ptrdiff_t>(range) && -distance < static_cast<std::ptrdiff_t>(range);
         distance += step)
        if (API(mpmm_debugger_find)(bytes(block) + distance).kind == MPMM_ADDRESS_UNUSED) return bytes(block) + distance;
    std::fputs("no such address\n", stderr);
    std::_Exit(97);
}

struct Case {
    const char* name;
    void (*commit)(std::size_t size);
};

int global = 0;

const Case cases[] = {
    // ---- double frees; the size follows the name ----
    {"clean",
     [](std::size_t size) {
         std::vector<void*> blocks;
         for (int i = 0; i < 200; ++i) blocks.push_back(take(size + static_cast<std::size_t>(i)));
         in_thread([&] {
             for (std::size_t i = 0; i < 100; ++i) give(blocks[i]);
         });
         for (std::size_t i = 100; i < 200; ++i) give(again(blocks[i], size + i, size + 5000));
         settle();
     }},
    {"at_once",
     [](std::size_t size) {
         void* const block = take(size);
         give(block);
         give(block);
     }},
    {"with_neighbours",
     [](std::size_t size) {
         void* const blocks[] = {take(size), take(size), take(size)};
         give(blocks[1]);
         give(blocks[1]);
     }},
    {"after_many_frees",
     [](std::size_t size) {
         std::vector<void*> others;
         for (int i = 0; i < 40; ++i)
             for (const std::size_t other : {size, size / 2 + 1, std::size_t{64}}) others.push_back(take(other));
         void* const block = take(size);
         give(block);
         for (void* const other : others) give(other);
         give(block);
     }},
    {"from_full",
     [](std::size_t size) {
         std::vector<void*> blocks;
         for (int i = 0; i < 1500; ++i) blocks.push_back(take(size));
         give(blocks[3]);
         give(blocks[3]);
     }},
    {"via_realloc",
     [](std::size_t size) {
         void* const block = take(size);
         void* const keep = take(size);
         give(block);
         again(block, size, 2 * size + 100);
         give(keep);
     }},
    {"after_realloc_moved",
     [](std::size_t size) {
         void* const block = take(size);
         void* const wall = take(size);
         void* const moved = again(block, size, 20 * size + 100000);
         if (moved == block) std::_Exit(95);
         give(block);
         settle();
         give(wall);
     }},
    {"second_in_other_thread",
     [](std::size_t size) {
         void* const block = take(size);
         give(block);
         in_thread([=] {
             give(block);
             flush();
         });
         settle();
     }},
    {"first_in_other_thread",
     [](std::size_t size) {
         void* const block = take(size);
         in_thread([=] { give(block); });
         give(block);
         settle();
     }},
    {"both_in_other_thread",
     [](std::size_t size) {
         void* const block = take(size);
         in_thread([=] {
             give(block);
             give(block);
         });
     }},
    {"both_in_other_thread_flushed",
     [](std::size_t size) {
         void* const block = take(size);
         in_thread([=] {
             give(block);
             flush();
             give(block);
             flush();
         });
     }},
    {"in_two_other_threads",
     [](std::size_t size) {
         void* const block = take(size);
         in_thread([=] { give(block); });
         in_thread([=] { give(block); });
     }},
    {"first_waits_in_a_buffer",
     [](std::size_t size) {
         void* const block = take(size);
         void* const keep = take(size);
         Worker worker([=] { give(block); }, [] { flush(); });
         worker.next();
         give(block);
         worker.next();
         settle();
         give(keep);
     }},
    {"both_wait_in_buffers",
     [](std::size_t size) {
         void* const block = take(size);
         Worker one([=] { give(block); }, [] { flush(); }), two([=] { give(block); }, [] { flush(); });
         one.next();
         two.next();
         one.next();
         two.next();
         settle();
     }},
    {"between_free_and_drain",
     [](std::size_t size) {
         void* const block = take(size);
         void* const keep = take(size);
         Worker worker([=] { give(block); }, [] { flush(); }, [=] { give(block); }, [] { flush(); });
         worker.next();
         worker.next();
         settle();  // drained: free in the owner's map
         worker.next();
         worker.next();
         settle();
         give(keep);
     }},
    {"owner_is_dead",
     [](std::size_t size) {
         void *block = nullptr, *keep = nullptr;
         in_thread([&] {
             block = take(size);
             keep = take(size);
         });
         give(block);
         give(block);
         settle();
         give(keep);
     }},
    {"owner_dies_between",
     [](std::size_t size) {
         void *block = nullptr, *keep = nullptr;
         in_thread([&] {
             block = take(size);
             keep = take(size);
             give(block);
         });
         give(block);
         settle();
         give(keep);
     }},
    {"owner_is_dead_and_adopted",
     [](std::size_t size) {
         void *block = nullptr, *keep = nullptr;
         in_thread([&] {
             block = take(size);
             keep = take(size);
         });
         give(block);
         flush();
         give(block);
         flush();
         take(size);  // adopts what the thread left
         settle();
         give(keep);
     }},
    // The slot goes back to its pool with the second free still on its way.
    {"slot_is_gone",
     [](std::size_t size) {
         std::vector<void*> blocks;
         for (int i = 0; i < 600; ++i) blocks.push_back(take(size));
         void* const block = blocks[300];
         Worker worker([=] { give(block); }, [] { flush(); });
         worker.next();
         for (void* const each : blocks) give(each);
         settle();
         worker.next();
         settle();
     }},
    // The owner hands the block out again before the second free arrives: then it can only be known when that free was made.
    {"handed_out_again_before_the_drain",
     [](std::size_t size) {
         void* const block = take(size);
         void* const keep = take(size);
         give(block);
         Worker worker([=] { give(block); }, [] { flush(); });
         worker.next();
         void* const next = take(size);
         worker.next();
         settle();
         if (next != block) std::_Exit(94);
         give(keep);
     }},
    {"after_purge",
     [](std::size_t size) {
         void* const block = take(size);
         void* const keep = take(size);
         give(block);
         settle();
         give(block);
         give(keep);
     }},
    {"after_trim",
     [](std::size_t size) {
         void* const block = take(size);
         give(block);
         API(mpmm_trim)(0);
         give(block);
     }},
    // ---- invalid frees ----
    {"interior",
     [](std::size_t size) {
         void* const block = take(size);
         give(bytes(block) + size / 2 / 8 * 8);
     }},
    {"misaligned",
     [](std::size_t size) {
         void* const block = take(size);
         give(bytes(block) + 1);
     }},
    {"last_byte",
     [](std::size_t size) {
         void* const block = take(size);
         give(bytes(block) + size - 1);
     }},
    {"middle_page",
     [](std::size_t size) {
         void* const block = take(size);
         give(bytes(block) + size / 2 / 4096 * 4096);
     }},
    {"interior_in_other_thread",
     [](std::size_t size) {
         void* const block = take(size);
         in_thread([=] {
             give(bytes(block) + 1);
             flush();
         });
         settle();
     }},
    {"interior_via_realloc",
     [](std::size_t size) {
         void* const block = take(size);
         again(bytes(block) + 1, size, 100);
     }},
    {"stack",
     [](std::size_t) {
         int local = 0;
         give(&local);
     }},
    {"stack_via_realloc",
     [](std::size_t) {
         int local = 0;
         again(&local, sizeof local, 100);
     }},
    {"global", [](std::size_t) { give(&global); }},
    {"never_mapped", [](std::size_t) { give(reinterpret_cast<void*>(std::uintptr_t{0x10000})); }},
    {"far_away", [](std::size_t) { give(reinterpret_cast<void*>((std::uintptr_t{1} << (wide ? 47 : 31)) - 4096)); }},
    {"not_canonical", [](std::size_t) { give(reinterpret_cast<void*>(std::uintptr_t{1} << (wide ? 55 : 29))); }},
    {"kernel_half", [](std::size_t) { give(reinterpret_cast<void*>((UINTPTR_MAX / 2 + 1) + 4096)); }},
    {"all_ones", [](std::size_t) { give(reinterpret_cast<void*>(UINTPTR_MAX)); }},
    {"own_mapping",
     [](std::size_t) {
         void* const memory = ::mmap(nullptr, std::size_t{8} << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
         give(bytes(memory) + (4 << 20));
     }},
    {"intrusive_header",
     [](std::size_t) {
         std::vector<void*> blocks;
         for (int i = 0; i < 600; ++i) blocks.push_back(take(8));
         give(unused_near(reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(blocks[10]) / 4096 * 4096), 8, 4096));
     }},
    {"past_the_last_block",
     [](std::size_t) {
         // 320 blocks of 48 bytes in a slot of 16 KiB: what follows is nobody's. In verify it is the block's redzone, or the slot's end.
         void* const block = take(48);
         give(unused_near(reinterpret_cast<void*>((reinterpret_cast<std::uintptr_t>(block) / 16384 + 1) * 16384), -8, 16384));
     }},
    {"unused_slot",
     [](std::size_t) {
         void* const block = take(80);
         give(reinterpret_cast<void*>((reinterpret_cast<std::uintptr_t>(block) / (2 << 20) + 1) * (2 << 20) - 65536));
     }},
    {"never_handed_out",
     [](std::size_t) {
         void* const block = take(48);
         give(bytes(block) + 48 * 200);
     }},
};

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) return 2;
    for (const Case& each : cases)
        if (std::string(argv[1]) == each.name) {
            each.commit(std::strtoull(argv[2], nullptr, 10));
            // Only after halt_on_error=0, or without an error: the heap is as whole as before.
            if (API(mpmm_verify_heap)() != 0) return 1;
            std::puts("survived");
            return 0;
        }
    return 2;
}
