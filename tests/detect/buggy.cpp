// SPDX-License-Identifier: Apache-2.0
// buggy CASE commits one error with the heap; buggy --list names all cases. Built over malloc, free, new and delete, and once more over the
// sized API.
#include "detect/blocks.hpp"
#include "detect/table.hpp"

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <unistd.h>

namespace mpmm::detect {
namespace {

/// What must stay reachable, because only one error is to be reported.
char* kept[batch_length + 1];

void keep(char* block) { kept[batch_length] = block; }

/// What brings an error to light that nothing noticed when it happened.
void find(const Case& test, char* block) {
    if (test.found == Found::at_free) free_the_block(test, block);
    if (test.found == Found::at_realloc) keep(static_cast<char*>(realloc_the_block(test, block, test.size * 2)));
}

/// The correct free that precedes some errors.
void free_before(const Case& test, char* block) {
    if (test.error != Error::stale_after_realloc) {
        free_the_block(test, block);
        return;
    }
    // Until it moves: only then is the old pointer stale.
    void* moved = block;
    for (std::size_t size = test.size * 2; moved == block && size < (std::size_t{64} << 20); size *= 2)
        moved = realloc_the_block(test, block, size);
    if (moved == block) give_up("realloc that moves");
    keep(static_cast<char*>(moved));
}

void allocate(const Case& test, char*& block) {
    block = static_cast<char*>(allocate_the_block(test.making, test.size));
    keep(block);
}

void run_alone(const Case& test) {
    char* block = nullptr;
    if (test.relation == Relation::ended) in_thread("allocator", [&] { allocate(test, block); });
    else allocate(test, block);
    announce_block(block, test.size);
    if (freed_before(test.error)) free_before(test, block);
    const auto misuse = [&] {
        misuse_the_block(test, block);
        find(test, block);
    };
    if (test.relation == Relation::other) in_thread("worker", misuse);
    else misuse();
}

void free_neighbours(const Case& test, std::size_t from, std::size_t to) {
    for (std::size_t i = from; i < to; ++i) release(test.making, kept[i], test.size);
}

void run_batch(const Case& test) {
    for (char*& block : kept) block = static_cast<char*>(allocate_the_block(test.making, test.size));
    char* const block = kept[batch_middle];
    announce_block(block, test.size);
    in_thread("worker", [&] {
        if (test.found == Found::at_free) misuse_the_block(test, block);
        free_neighbours(test, 0, batch_middle);
        if (freed_before(test.error)) free_before(test, block);
        else if (test.found == Found::at_free) find(test, block);
        // The block is somewhere in the combining buffer, or among blocks that are.
        if (freed_before(test.error)) free_neighbours(test, batch_middle + 1, batch_length);
        if (test.found != Found::at_free) misuse_the_block(test, block);
    });
}

// ---- leaks: in functions that have returned, so that no pointer is left but in the dead part of the stack ----

[[gnu::noinline]] void lose(const Case& test) {
    void* first = nullptr;
    void** last = nullptr;
    for (std::size_t i = 0; i < objects_of(test.error); ++i) {
        void** const node = static_cast<void**>(allocate_the_block(test.making, test.size));
        if (last == nullptr) first = node;
        else *last = node;
        *node = nullptr;
        last = node;
    }
    if (test.error == Error::leak_cycle) *last = first;
    announce_block(first, test.size);
    keep_frame();
}

[[gnu::noinline]] void lose_deep(const Case& test, int depth) {
    if (depth > 0) lose_deep(test, depth - 1);
    else lose(test);
    keep_frame();
}

void run_leak(const Case& test) {
    if (test.relation == Relation::ended) in_thread("allocator", [&] { lose_deep(test, 20); });
    else lose_deep(test, 20);
    scrub_stack();
}

int main_of(int count, char** arguments) {
#ifdef MPMM_DETECT_API
    const std::vector<Case> cases = api_cases();
#else
    const std::vector<Case> cases = all_cases();
#endif
    if (count != 2) return 2;
    if (std::strcmp(arguments[1], "--list") == 0) {
        for (const Case& test : cases) std::puts(name_of(test).c_str());
        return 0;
    }
    for (const Case& test : cases) {
        if (name_of(test) != arguments[1]) continue;
        char text[40];
        std::snprintf(text, sizeof text, "pid %d\n", static_cast<int>(getpid()));
        announce(text);
        if (leaking(test.error)) run_leak(test);
        else if (test.relation == Relation::batch) run_batch(test);
        else run_alone(test);
        announce("survived\n");
        return 0;
    }
    announce("no such case\n");
    return 91;
}

}  // namespace
}  // namespace mpmm::detect

int main(int count, char** arguments) { return mpmm::detect::main_of(count, arguments); }
