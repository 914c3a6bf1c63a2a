// SPDX-License-Identifier: Apache-2.0
#include "platform/thread.hpp"

#include <pthread.h>

namespace mpmm::thread {

/// pthread_key_create allocates nothing, and the first 32 keys need no allocation to be set either.
bool ExitHook::prepare() {
    int state = state_.load(acquire);
    if (state == 0) {
        const Guard guard(lock_);
        state = state_.load(relaxed);
        if (state == 0) {
            pthread_key_t key{};
            state = ::pthread_key_create(&key, function_) == 0 ? 1 : -1;
            key_ = key;
            // release: who reads 1 reads the key as well.
            state_.store(state, release);
        }
    }
    return state == 1;
}

bool ExitHook::arm(void* argument) { return prepare() && ::pthread_setspecific(key_, argument) == 0; }

void ExitHook::disarm() {
    if (state_.load(acquire) == 1) ::pthread_setspecific(key_, nullptr);
}

void at_fork(void (*prepare)(), void (*parent)(), void (*child)()) { ::pthread_atfork(prepare, parent, child); }

}  // namespace mpmm::thread
