// SPDX-License-Identifier: Apache-2.0
#include "platform/fault.hpp"

#include "platform/lock.hpp"

#include <cerrno>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

extern "C" {
// The system's function, whoever interposes sigaction.
[[gnu::weak]] int __sigaction(int signal, const struct sigaction* action, struct sigaction* old) noexcept;
}

namespace mpmm::fault {
namespace {

constinit Atomic<Handler> ours{nullptr};
constinit Mutex lock;
/// What the program wants to be done; guarded by the lock but in the handler, which only reads.
struct sigaction program_segv, program_bus;

struct sigaction& of_program(int signal) { return signal == SIGSEGV ? program_segv : program_bus; }

int system_sigaction(int signal, const struct sigaction* action, struct sigaction* old) {
    return __sigaction != nullptr ? __sigaction(signal, action, old) : ::sigaction(signal, action, old);
}

bool is_write([[maybe_unused]] const void* context) {
#if defined(__x86_64__)
    return (static_cast<const ucontext_t*>(context)->uc_mcontext.gregs[REG_ERR] & 2) != 0;
#else
    return false;
#endif
}

/// Lets the system do what it does without a handler: the instruction faults again, or the signal is sent again.
void default_action(int signal, const siginfo_t* info) {
    struct sigaction action {};
    action.sa_handler = SIG_DFL;
    system_sigaction(signal, &action, nullptr);
    if (info->si_code <= 0) ::syscall(SYS_tgkill, ::getpid(), ::syscall(SYS_gettid), signal);
}

void pass_on(int signal, siginfo_t* info, void* context) {
    struct sigaction action = of_program(signal);
    const bool plain = (action.sa_flags & SA_SIGINFO) == 0;
    // A processor's fault cannot be ignored.
    if (plain && (action.sa_handler == SIG_DFL || (action.sa_handler == SIG_IGN && info->si_code > 0))) return default_action(signal, info);
    if (plain && action.sa_handler == SIG_IGN) return;
    if ((action.sa_flags & static_cast<int>(SA_RESETHAND)) != 0) {
        of_program(signal).sa_handler = SIG_DFL;
        of_program(signal).sa_flags &= ~SA_SIGINFO;
    }
    // As the kernel would have done for this handler.
    sigset_t old;
    if ((action.sa_flags & SA_NODEFER) != 0) sigdelset(&action.sa_mask, signal);
    else sigaddset(&action.sa_mask, signal);
    ::pthread_sigmask(SIG_SETMASK, &static_cast<ucontext_t*>(context)->uc_sigmask, nullptr);
    ::pthread_sigmask(SIG_BLOCK, &action.sa_mask, &old);
    if (plain) action.sa_handler(signal);
    else action.sa_sigaction(signal, info, context);
    ::pthread_sigmask(SIG_SETMASK, &old, nullptr);
}

void handle(int signal, siginfo_t* info, void* context) {
    const int kept = errno;
    // A signal that somebody sent has no address.
    if (info->si_code > 0 && ours.load(acquire)(info->si_addr, is_write(context), context)) {
        errno = kept;
        return;
    }
    errno = kept;
    pass_on(signal, info, context);
}

}  // namespace

void install(Handler handler) {
    const Guard guard(lock);
    if (ours.exchange(handler, acq_rel) != nullptr) return;
    for (const int signal : {SIGSEGV, SIGBUS}) {
        struct sigaction action {};
        action.sa_sigaction = &handle;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        sigemptyset(&action.sa_mask);
        system_sigaction(signal, &action, &of_program(signal));
    }
}

bool sigaction_of_program(int signal, const struct sigaction* action, struct sigaction* old, int& result) {
    if ((signal != SIGSEGV && signal != SIGBUS) || ours.load(acquire) == nullptr) return false;
    const Guard guard(lock);
    if (old != nullptr) *old = of_program(signal);
    if (action != nullptr) of_program(signal) = *action;
    result = 0;
    return true;
}

}  // namespace mpmm::fault
