// SPDX-License-Identifier: Apache-2.0
// See child_process.hpp.
#include "platform/child_process.hpp"

#include "platform/os.hpp"
#include "platform/signal_safe.hpp"

#include <csignal>
#include <cstdint>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern "C" char** environ;

namespace mpmm::child_process {
namespace {

constexpr int cannot_execute = 127, first_free_descriptor = 3;

/// Keeps signals from the calling thread, and the SIGPIPE that our own writing makes from ever being seen.
class NoSignals {
  public:
    NoSignals() {
        sigset_t all;
        ::sigfillset(&all);
        // A fault must still end in the program's handler, as if nothing were blocked: blocked, it would kill the process.
        for (const int fault : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT}) ::sigdelset(&all, fault);
        ::sigpending(&pending_);
        ::pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    NoSignals(const NoSignals&) = delete;
    NoSignals& operator=(const NoSignals&) = delete;
    ~NoSignals() {
        if (::sigismember(&pending_, SIGPIPE) == 0) {
            sigset_t broken_pipe;
            ::sigemptyset(&broken_pipe);
            ::sigaddset(&broken_pipe, SIGPIPE);
            const timespec now{};
            while (::sigtimedwait(&broken_pipe, nullptr, &now) < 0 && errno == EINTR) continue;
        }
        ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    }

  private:
    sigset_t before_, pending_;
};

/// A pipe whose ends are none of the standard descriptors, also when the program closed those.
class Pipe {
  public:
    Pipe() {
        int made[2];
        if (::pipe2(made, O_CLOEXEC) != 0) return;
        for (int i = 0; i < 2; ++i) {
            ends_[i] = made[i] >= first_free_descriptor ? made[i] : ::fcntl(made[i], F_DUPFD_CLOEXEC, first_free_descriptor);
            if (ends_[i] != made[i]) ::close(made[i]);
        }
    }
    Pipe(const Pipe&) = delete;
    Pipe& operator=(const Pipe&) = delete;
    ~Pipe() {
        close(0);
        close(1);
    }
    bool made() const { return ends_[0] >= 0 && ends_[1] >= 0; }
    int read_end() const { return ends_[0]; }
    int write_end() const { return ends_[1]; }
    void close(int end) {
        if (ends_[end] >= 0) ::close(ends_[end]);
        ends_[end] = -1;
    }
    void do_not_block(int end) { ::fcntl(ends_[end], F_SETFL, ::fcntl(ends_[end], F_GETFL) | O_NONBLOCK); }

  private:
    int ends_[2] = {-1, -1};
};

/// fork() without its handlers, which take locks. All other arguments are 0, so that their order, which differs between machines, does
/// not matter.
long fork_quietly(int exit_signal) {
    const auto clone = [](long flags) { return ::syscall(SYS_clone, flags, 0L, 0L, 0L, 0L); };
    const long child = clone(exit_signal);
    // qemu-user makes no child that ends without a signal. One that the program may hear of is better there than no lines in reports.
    return child < 0 && errno == EINVAL && exit_signal == 0 ? clone(SIGCHLD) : child;
}

pid_t wait_for(pid_t process, int& status, int flags) {
    pid_t ended;
    do ended = ::waitpid(process, &status, flags | __WALL);
    while (ended < 0 && errno == EINTR);
    return ended;
}

void sleep_ms(long milliseconds) {
    const timespec time{milliseconds / 1000, milliseconds % 1000 * 1'000'000};
    ::nanosleep(&time, nullptr);
}

// ---- what runs in the copies of this process; its memory is private, its locks are whoever's ----

void close_all_from(unsigned first) {
#ifdef SYS_close_range
    if (::syscall(SYS_close_range, first, ~0U, 0U) == 0) return;
#endif
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    const rlim_t last = limit.rlim_cur < 65536 ? limit.rlim_cur : 65536;
    for (rlim_t descriptor = first; descriptor < last; ++descriptor) ::close(static_cast<int>(descriptor));
}

bool is_setting_of(const char* entry, const char* name) {
    const std::size_t length = std::strlen(name);
    return std::strncmp(entry, name, length) == 0 && entry[length] == '=';
}

/// The environment without what would put this allocator into the other program.
char** environment() {
    static char* nothing[] = {nullptr};
    if (environ == nullptr) return nothing;
    std::size_t count = 0;
    while (environ[count] != nullptr) ++count;
    char** const kept = static_cast<char**>(os::map((count + 1) * sizeof(char*), nullptr));
    if (kept == nullptr) return nothing;
    char** end = kept;
    for (char** entry = environ; *entry != nullptr; ++entry)
        if (!is_setting_of(*entry, "LD_PRELOAD") && !is_setting_of(*entry, "MPMM_OPTIONS")) *end++ = *entry;
    return kept;
}

[[noreturn]] void become(const char* path, const char* const* arguments) {
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigset_t none;
    ::sigemptyset(&none);
    ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
    ::execve(path, const_cast<char* const*>(arguments), environment());
    ::_exit(cannot_execute);
}

[[noreturn]] void supervise(const char* path, const char* const* arguments, int input, int output) {
    for (int signal = 1; signal < NSIG; ++signal) ::signal(signal, SIG_DFL);
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
    // The terminal's signals are for the program alone; when it dies of one, or otherwise, this process shall end.
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    // What the other program leaves behind comes here, and not to the program when that is one that collects orphans.
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    ::dup2(input, 0);
    ::dup2(output, 1);
    const int nowhere = ::open("/dev/null", O_WRONLY);
    if (nowhere >= 0) ::dup2(nowhere, 2);
    close_all_from(nowhere >= 0 ? 3 : 2);
    // A crash of these copies must not write a core file in the program's name.
    const rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    ::prctl(PR_SET_DUMPABLE, 0);

    const pid_t child = static_cast<pid_t>(fork_quietly(SIGCHLD));
    if (child < 0) ::_exit(cannot_execute);
    if (child == 0) become(path, arguments);
    ::setpgid(child, child);
    close_all_from(0);
    sigset_t awaited;
    ::sigemptyset(&awaited);
    ::sigaddset(&awaited, SIGCHLD);
    ::sigaddset(&awaited, SIGTERM);
    for (;;) {
        const int signal = ::sigwaitinfo(&awaited, nullptr);
        siginfo_t info;
        info.si_pid = 0;
        if (signal == SIGCHLD && (::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0))
            continue;
        if (signal < 0) continue;
        // Not yet reaped, so the number is still the child's.
        ::kill(-child, SIGKILL);
        ::kill(child, SIGKILL);
        int status = 0;
        wait_for(child, status, 0);
        for (int other = 0; wait_for(-child, other, 0) > 0;) continue;
        ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128);
    }
}

// ---- what runs in this process ----

/// Ends the supervisor, in good manners if possible; its exit status, or -1.
int dismiss(pid_t supervisor, bool kill) {
    constexpr int patience = 200, last = 2000;
    int status = 0;
    for (int waited = 0; waited < last; ++waited) {
        if (const pid_t ended = wait_for(supervisor, status, WNOHANG); ended != 0)
            return ended == supervisor && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        // After the end of its output it should be gone any moment, and nothing is lost with it.
        if (waited == (kill ? 0 : patience)) ::kill(supervisor, SIGTERM);
        sleep_ms(1);
    }
    ::kill(supervisor, SIGKILL);
    wait_for(supervisor, status, 0);
    return -1;
}

Outcome converse(Pipe& input, Pipe& output, const Dialogue& dialogue, unsigned silence_ms) {
    const std::size_t half = dialogue.room / 2;
    char* const incoming = dialogue.buffer + half;
    const char* outgoing = dialogue.buffer;
    std::size_t left = 0;
    const std::uint64_t start = os::now_ms();
    std::uint64_t last_heard = start;
    for (;;) {
        if (left == 0 && input.write_end() >= 0) {
            outgoing = dialogue.buffer;
            left = dialogue.supply(dialogue.context, dialogue.buffer, half);
            if (left == 0) input.close(1);
        }
        const std::uint64_t now = os::now_ms(), silent = now - last_heard;
        if (silent >= silence_ms || now - start >= std::uint64_t{silence_ms} * 6) return Outcome::timed_out;
        // poll() passes over negative descriptors.
        pollfd both[2] = {{output.read_end(), POLLIN, 0}, {input.write_end(), POLLOUT, 0}};
        if (::poll(both, 2, static_cast<int>(silence_ms - silent)) < 0 && errno != EINTR) return Outcome::timed_out;
        if (both[1].revents != 0) {
            const ssize_t written = ::write(input.write_end(), outgoing, left);
            if (written >= 0) {
                outgoing += written;
                left -= static_cast<std::size_t>(written);
            } else if (errno != EAGAIN && errno != EINTR) {
                // It reads no more; what it has to say it may still say.
                left = 0;
                input.close(1);
            }
        }
        if (both[0].revents != 0) {
            const ssize_t got = ::read(output.read_end(), incoming, dialogue.room - half);
            if (got == 0) return Outcome::ended;
            if (got > 0) {
                last_heard = os::now_ms();
                if (!dialogue.receive(dialogue.context, incoming, static_cast<std::size_t>(got))) return Outcome::stopped;
            } else if (errno != EAGAIN && errno != EINTR) {
                return Outcome::ended;
            }
        }
    }
}

}  // namespace

Outcome run(const char* path, const char* const* arguments, const Dialogue& dialogue, unsigned silence_ms) {
    const KeepErrno keep_errno;
    const NoCancellation no_cancellation;
    const NoSignals no_signals;
    Pipe input, output;
    if (!input.made() || !output.made()) return Outcome::not_started;
    const pid_t supervisor = static_cast<pid_t>(fork_quietly(0));
    if (supervisor < 0) return Outcome::not_started;
    if (supervisor == 0) supervise(path, arguments, input.read_end(), output.write_end());
    input.close(0);
    output.close(1);
    input.do_not_block(1);
    output.do_not_block(0);
    const Outcome outcome = converse(input, output, dialogue, silence_ms);
    input.close(1);
    output.close(0);
    const int status = dismiss(supervisor, outcome != Outcome::ended);
    return outcome == Outcome::ended && status == cannot_execute ? Outcome::not_started : outcome;
}

}  // namespace mpmm::child_process
