// SPDX-License-Identifier: Apache-2.0
// The end of a thread on Windows: the loader calls the modules' thread-local callbacks, in the order of their section's name. Ours comes last
// in this module, after the one that runs C++ thread_local destructors; the loader asks no module that was unloaded meanwhile, so nothing has
// to be taken back then. TerminateThread() calls nobody: what such a thread's cache holds is lost.
#include "platform/os_windows.hpp"
#include "platform/thread.hpp"

#include <cstdlib>

namespace mpmm::thread {
namespace {

constexpr unsigned max_hooks = 64;

constinit Atomic<void (*)(void*)> functions[max_hooks]{};
constinit Atomic<unsigned> hook_count{0};
#ifdef MPMM_THREAD_WORDS
constinit thread_words::Word<void*> arguments[max_hooks];
#else
constinit thread_local void* arguments[max_hooks]{};
#endif

void NTAPI at_loader_event(void*, DWORD event, void*) {
    if (event != DLL_THREAD_DETACH) return;
    const unsigned count = hook_count.load(acquire);
    for (unsigned key = 0; key < count; ++key) {
        void* const argument = arguments[key];
        if (argument == nullptr) continue;
        arguments[key] = nullptr;
        functions[key].load(relaxed)(argument);
    }
}

}  // namespace

bool ExitHook::prepare() {
    int state = state_.load(acquire);
    if (state == 0) {
        static constinit Mutex table;
        const Guard guard(table);
        state = state_.load(relaxed);
        if (state == 0) {
            key_ = hook_count.load(relaxed);
            state = key_ < max_hooks ? 1 : -1;
            if (state == 1) {
                functions[key_].store(function_, relaxed);
                // release: who counts the hook finds its function.
                hook_count.store(key_ + 1, release);
            }
            // release: who reads 1 reads the key as well.
            state_.store(state, release);
        }
    }
    return state == 1;
}

bool ExitHook::arm(void* argument) {
    if (!prepare()) return false;
    arguments[key_] = argument;
    return true;
}

void ExitHook::disarm() {
    if (state_.load(acquire) == 1) arguments[key_] = nullptr;
}

/// Nothing forks here.
void at_fork(void (*)(), void (*)(), void (*)()) {}

}  // namespace mpmm::thread

#ifdef MPMM_THREAD_WORDS
namespace {
constexpr std::uint32_t word_count = 256;
}

// A name between .tls and .tls$ZZZ, which the C runtime puts at the two ends.
extern "C" {
[[gnu::section(".tls$MPMM"), gnu::used]] std::uintptr_t mpmm_thread_words[word_count]{};
}

std::uint32_t mpmm::thread_words::take(Atomic<std::uint32_t>& owner) {
    static constinit Mutex lock;
    static constinit std::uint32_t used = 1;
    const Guard guard(lock);
    if (owner.load(relaxed) == 0) {
        if (used == word_count) std::abort();
        owner.store(static_cast<std::uint32_t>(used++ * sizeof(std::uintptr_t)), relaxed);
    }
    return owner.load(relaxed);
}
#endif

extern "C" {
extern const PIMAGE_TLS_CALLBACK mpmm_thread_callback;
#ifdef _MSC_VER
#pragma comment(linker, "/INCLUDE:_tls_used")
#pragma comment(linker, "/INCLUDE:mpmm_thread_callback")
#pragma section(".CRT$XLY", long, read)
__declspec(allocate(".CRT$XLY"))
#else
[[gnu::section(".CRT$XLY"), gnu::used]]
#endif
const PIMAGE_TLS_CALLBACK mpmm_thread_callback = mpmm::thread::at_loader_event;
}
