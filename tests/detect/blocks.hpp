// SPDX-License-Identifier: Apache-2.0
// What the buggy programs are made of: making blocks in every way, freeing them rightly, and telling the test about them. Nothing here
// allocates, so that the block in question is alone in the reports.
#pragma once

#include "detect/cases.hpp"

#include <pthread.h>

namespace mpmm::detect {

/// Hides from the compiler where a pointer comes from: it knows that these programs are wrong.
inline char* hide(void* pointer) {
    __asm__ volatile("" : "+r"(pointer) : : "memory");
    return static_cast<char*>(pointer);
}
/// At the end of a function: its last call is no jump, so that its frame is in the stack.
inline void keep_frame() { __asm__ volatile("" : : : "memory"); }

/// One line on stdout, at once: "block 0x... size N", "address 0x...". The address is where the error is.
void announce_block(const void* block, std::size_t size);
void announce_address(const void* address);
void announce(const char* text);
/// Ends the program when what the case needs cannot be had.
[[noreturn]] void give_up(const char* reason);
/// A function of the preloaded library.
void* exported(const char* name);

/// Frees a block as its making wants it.
void release(Making making, void* block, std::size_t size);

/// Overwrites the dead part of the stack, where lost pointers would be found.
void scrub_stack();

/// Runs `body` in a thread of that name, to its end.
template <class Body>
void in_thread(const char* name, Body body) {
    struct Start {
        const char* name;
        Body* body;
    } start{name, &body};
    pthread_t thread;
    const auto run = [](void* argument) -> void* {
        const Start& given = *static_cast<Start*>(argument);
        pthread_setname_np(pthread_self(), given.name);
        (*given.body)();
        return nullptr;
    };
    if (pthread_create(&thread, nullptr, run, &start) != 0) give_up("no thread");
    pthread_join(thread, nullptr);
}

}  // namespace mpmm::detect

/// The functions whose names reports must show. C names, so that they are the same with and without demangling.
extern "C" {
void* allocate_the_block(mpmm::detect::Making making, std::size_t size);
void free_the_block(const mpmm::detect::Case& test, void* block);
void* realloc_the_block(const mpmm::detect::Case& test, void* block, std::size_t size);
/// The error itself, of any kind. `block` is the one in question.
void misuse_the_block(const mpmm::detect::Case& test, char* block);
}
