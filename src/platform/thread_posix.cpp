// SPDX-License-Identifier: Apache-2.0
#include "platform/atomics.hpp"
#include "platform/lock.hpp"
#include "platform/thread.hpp"

#include <pthread.h>

namespace mpmm::thread {
namespace {

constinit Mutex key_lock;
constinit Atomic<int> key_state{0};  // 0 not created, 1 created, -1 refused
constinit pthread_key_t exit_key{};

/// pthread_key_create allocates nothing, and the first 32 keys need no allocation to be set either.
bool key_ready(ExitHook hook) {
    int state = key_state.load(acquire);
    if (state == 0) {
        const Guard guard(key_lock);
        state = key_state.load(relaxed);
        if (state == 0) {
            state = ::pthread_key_create(&exit_key, hook) == 0 ? 1 : -1;
            key_state.store(state, release);
        }
    }
    return state == 1;
}

}  // namespace

bool at_exit(ExitHook hook, void* argument) { return key_ready(hook) && ::pthread_setspecific(exit_key, argument) == 0; }

void cancel_at_exit() {
    if (key_state.load(acquire) == 1) ::pthread_setspecific(exit_key, nullptr);
}

void at_fork(void (*prepare)(), void (*parent)(), void (*child)()) { ::pthread_atfork(prepare, parent, child); }

}  // namespace mpmm::thread
