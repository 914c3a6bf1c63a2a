// SPDX-License-Identifier: Apache-2.0
#include "platform/fault.hpp"

#include "platform/lock.hpp"
#if defined(__aarch64__)
#include "platform/fault_aarch64.hpp"
#endif

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

/// Set once, before the system knows of a handler; release and acquire, for sigaction_of_program() may be called in any thread.
constinit Atomic<Handler> ours{nullptr};
constinit Mutex lock;
/// A child of vfork runs in this memory: what it sets is its own business and the system's.
constinit Atomic<pid_t> process{0};

/// The lock, in a moment in which no signal handler can want it as well: sigaction() may be called in handlers.
class Quiet {
  public:
    Quiet() {
        sigset_t all;
        sigfillset(&all);
        ::pthread_sigmask(SIG_SETMASK, &all, &before_);
        lock.lock();
    }
    ~Quiet() {
        lock.unlock();
        ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    }
    Quiet(const Quiet&) = delete;
    Quiet& operator=(const Quiet&) = delete;

  private:
    sigset_t before_;
};

/// What the program wants to be done; guarded by the lock but in the handler, which only reads.
struct sigaction program_segv, program_bus;

struct sigaction& of_program(int signal) { return signal == SIGSEGV ? program_segv : program_bus; }

int system_sigaction(int signal, const struct sigaction* action, struct sigaction* old) {
    return __sigaction != nullptr ? __sigaction(signal, action, old) : ::sigaction(signal, action, old);
}

Access access_of([[maybe_unused]] const siginfo_t& info, [[maybe_unused]] const void* context) {
#if defined(__aarch64__)
    return access_on_aarch64(info, *static_cast<const ucontext_t*>(context));
#elif defined(__x86_64__) || defined(__i386__)
    const auto bits = static_cast<const ucontext_t*>(context)->uc_mcontext.gregs[REG_ERR];
    return (bits & 16) != 0 ? Access::execute : (bits & 2) != 0 ? Access::write : Access::read;
#else
    return Access::read;
#endif
}

/// Lets the system do what it does without a handler: the instruction faults again, or the signal is sent again.
void default_action(int signal, const siginfo_t* info) {
    struct sigaction action{};
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
    if (info->si_code > 0 && ours.load(acquire)(info->si_addr, access_of(*info, context), context)) {
        errno = kept;
        return;
    }
    errno = kept;
    pass_on(signal, info, context);
}

/// Our handler, in a way that signals which somebody sends do to system calls what the program wants. A program that ignores the signal
/// gets that from the system, for its children's sake: it ends at a fault all the same, but without a report.
void put_ours(int signal) {
    const struct sigaction& wanted = of_program(signal);
    struct sigaction action{};
    action.sa_sigaction = &handle;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | (wanted.sa_flags & SA_RESTART);
    sigemptyset(&action.sa_mask);
    if ((wanted.sa_flags & SA_SIGINFO) == 0 && wanted.sa_handler == SIG_IGN) action = wanted;
    system_sigaction(signal, &action, nullptr);
}

}  // namespace

void install(Handler handler) {
    const Quiet guard;
    if (ours.exchange(handler, acq_rel) != nullptr) return;
    process.store(::getpid(), relaxed);
    for (const int signal : {SIGSEGV, SIGBUS}) {
        system_sigaction(signal, nullptr, &of_program(signal));
        put_ours(signal);
    }
}

void reset_after_fork() {
    lock.reset_after_fork();
    process.store(::getpid(), relaxed);
}

bool sigaction_of_program(int signal, const struct sigaction* action, struct sigaction* old, int& result) {
    if ((signal != SIGSEGV && signal != SIGBUS) || ours.load(acquire) == nullptr || ::getpid() != process.load(relaxed)) return false;
    const Quiet guard;
    const struct sigaction wanted = action != nullptr ? *action : of_program(signal);
    if (old != nullptr) *old = of_program(signal);
    of_program(signal) = wanted;
    if (action != nullptr) put_ours(signal);
    result = 0;
    return true;
}

}  // namespace mpmm::fault
