// SPDX-License-Identifier: Apache-2.0
// Functions that the drop-in verify library stands in front of: a program that sets a handler for SIGSEGV or SIGBUS gets the faults that are
// not the allocator's, and unwinding forgets code that is unloaded.
#include "malloc/drop_in.hpp"
#include "platform/fault.hpp"
#include "platform/unwind.hpp"

#include <cerrno>
#include <dlfcn.h>

extern "C" {

// The C library's own; null where it has other names for them.
[[gnu::weak]] int __sigaction(int signal, const struct sigaction* action, struct sigaction* old) noexcept;
[[gnu::weak]] sighandler_t bsd_signal(int signal, sighandler_t handler) noexcept;

MPMM_EXPORT int sigaction(int signal, const struct sigaction* action, struct sigaction* old) noexcept {
    int result = 0;
    if (mpmm::fault::sigaction_of_program(signal, action, old, result)) return result;
    using Function = int(int, const struct sigaction*, struct sigaction*);
    auto* const system = __sigaction != nullptr ? &__sigaction : reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, "sigaction"));
    return system(signal, action, old);
}

MPMM_EXPORT sighandler_t signal(int signal, sighandler_t handler) noexcept {
    struct sigaction action{}, old{};
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, signal);
    int result = 0;
    if (mpmm::fault::sigaction_of_program(signal, &action, &old, result)) return old.sa_handler;
    if (bsd_signal != nullptr) return bsd_signal(signal, handler);
    return sigaction(signal, &action, &old) == 0 ? old.sa_handler : SIG_ERR;
}

MPMM_EXPORT int dlclose(void* library) noexcept {
    const int result = reinterpret_cast<int (*)(void*)>(::dlsym(RTLD_NEXT, "dlclose"))(library);
    mpmm::unwind::forget();
    return result;
}

}  // extern "C"
