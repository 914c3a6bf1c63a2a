// SPDX-License-Identifier: Apache-2.0
#include "platform/stop_world.hpp"

#include "platform/hidden.hpp"
#include "platform/lock.hpp"
#include "platform/stopper.hpp"

namespace mpmm::stop_world {
namespace {

constinit Mutex one_run;

}  // namespace

void reset_after_fork() {
    one_run.reset_after_fork();
    for (hidden::Range& range : hidden::ranges) range = {};
}

#ifdef MPMM_RAW_SYSCALL

}  // namespace mpmm::stop_world

#include "platform/proc_task.hpp"

#include <cerrno>
#include <climits>
#include <iterator>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

namespace mpmm::stop_world {
namespace {

using Callback = void (*)(void* context, const World& world);

enum Phase : std::uint32_t { begun, refused, in_callback, done };

/// What caller and helper share; the helper's stack follows behind a page that nobody may touch.
struct Shared {
    Callback callback;
    void* context;
    int task_directory;
    int process;
    Atomic<std::uint32_t> go;
    Atomic<std::uint32_t> phase;
    Stopper::Tables tables;
};

constexpr std::size_t guard_size = std::size_t{64} << 10;  // at least a page everywhere
constexpr std::size_t stack_size = std::size_t{1} << 20;
constexpr std::size_t shared_size = (sizeof(Shared) + guard_size - 1) / guard_size * guard_size;
constexpr std::size_t total_size = shared_size + guard_size + stack_size;

/// The helper from its first instruction to its last.
int help(void* argument) {
    Shared& shared = *static_cast<Shared*>(argument);
    raw_syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (raw_syscall(SYS_getppid) != shared.process) return 1;
    while (shared.go.load() == 0) raw_syscall(SYS_futex, &shared.go, FUTEX_WAIT_PRIVATE, 0, nullptr, nullptr, 0);
    Stopper stopper(shared.tables, shared.task_directory);
    if (stopper.stop_all()) {
        const World world{Result::stopped, shared.tables.threads, stopper.read_registers()};
        shared.phase.store(in_callback);
        shared.callback(shared.context, world);
        shared.phase.store(done);
    } else {
        shared.phase.store(refused);
    }
    stopper.release_all();
    return 0;
}

/// No signal is handled in a scope: the helper inherits that, and would run the program's handlers in the wrong task.
class BlockSignals {
  public:
    BlockSignals() {
        const std::uint64_t all = ~std::uint64_t{0};
        raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before_, sizeof all);
    }
    ~BlockSignals() { raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before_, nullptr, sizeof before_); }
    BlockSignals(const BlockSignals&) = delete;
    BlockSignals& operator=(const BlockSignals&) = delete;

  private:
    std::uint64_t before_ = 0;
};

/// A process that declared itself not dumpable cannot be traced: in a scope it is dumpable. One that runs with another's rights is left
/// as it is.
class Dumpable {
  public:
    Dumpable() : before_(raw_syscall(SYS_prctl, PR_GET_DUMPABLE, 0, 0, 0, 0)) {
        if (before_ == 0 && ::getauxval(AT_SECURE) == 0) changed_ = raw_syscall(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0) == 0;
    }
    ~Dumpable() {
        if (changed_) raw_syscall(SYS_prctl, PR_SET_DUMPABLE, before_, 0, 0, 0);
    }
    Dumpable(const Dumpable&) = delete;
    Dumpable& operator=(const Dumpable&) = delete;

  private:
    long before_;
    bool changed_ = false;
};

/// /proc/self/task, if it numbers the threads as the system calls do.
class TaskDirectory {
  public:
    TaskDirectory() {
        char text[16];
        const long size = raw_syscall(SYS_readlinkat, AT_FDCWD, "/proc/self", text, sizeof text);
        long number = 0;
        for (long i = 0; i < size && text[i] >= '0' && text[i] <= '9'; ++i) number = number * 10 + (text[i] - '0');
        if (number != raw_syscall(SYS_getpid)) return;
        descriptor_ = static_cast<int>(raw_syscall(SYS_openat, AT_FDCWD, "/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0));
    }
    ~TaskDirectory() {
        if (descriptor_ >= 0) raw_syscall(SYS_close, descriptor_);
    }
    TaskDirectory(const TaskDirectory&) = delete;
    TaskDirectory& operator=(const TaskDirectory&) = delete;

    int descriptor() const { return descriptor_; }
    /// Nobody but the caller lives.
    bool alone() const {
        const long self = raw_syscall(SYS_gettid);
        bool others = false;
        return descriptor_ >= 0 &&
               proc_task::each(descriptor_,
                               [&](int tid) {
                                   if (tid != self && proc_task::state(descriptor_, tid) != 'Z') others = true;
                                   return !others;
                               }) &&
               !others;
    }

  private:
    int descriptor_ = -1;
};

/// In the caller, with what it knows of itself. A process of one thread stands still by itself.
[[gnu::noinline]] Result run_here(const TaskDirectory& tasks, Callback callback, void* context) {
    // What the compiler wants to keep over a call lies in these registers or in frames above; the rest is dead here.
    std::uintptr_t registers[20] = {};
    Thread self{static_cast<int>(raw_syscall(SYS_gettid)), 0, 0, registers, std::size(registers)};
#if defined(__x86_64__)
    asm volatile(
        "movq %%rbx, 0(%0)\n"
        "movq %%rbp, 8(%0)\n"
        "movq %%r12, 16(%0)\n"
        "movq %%r13, 24(%0)\n"
        "movq %%r14, 32(%0)\n"
        "movq %%r15, 40(%0)\n"
        "movq %%rsp, 48(%0)\n"
        "movq %%fs:0, %%rax\n"
        "movq %%rax, 56(%0)\n"
        :
        : "r"(registers)
        : "rax", "memory");
    self.sp = registers[6];
    self.thread_pointer = registers[7];
#elif defined(__i386__)
    asm volatile(
        "movl %%ebx, 0(%0)\n"
        "movl %%ebp, 4(%0)\n"
        "movl %%esi, 8(%0)\n"
        "movl %%edi, 12(%0)\n"
        "movl %%esp, 16(%0)\n"
        "movl %%gs:0, %%eax\n"
        "movl %%eax, 20(%0)\n"
        :
        : "r"(registers)
        : "eax", "memory");
    self.sp = registers[4];
    self.thread_pointer = registers[5];
#else
    asm volatile(
        "stp x19, x20, [%0, #0]\n"
        "stp x21, x22, [%0, #16]\n"
        "stp x23, x24, [%0, #32]\n"
        "stp x25, x26, [%0, #48]\n"
        "stp x27, x28, [%0, #64]\n"
        "mov x9, sp\n"
        "mrs x10, tpidr_el0\n"
        "stp x9, x10, [%0, #80]\n"
        "stp d8, d9, [%0, #96]\n"
        "stp d10, d11, [%0, #112]\n"
        "stp d12, d13, [%0, #128]\n"
        "stp d14, d15, [%0, #144]\n"
        :
        : "r"(registers)
        : "x9", "x10", "memory");
    self.sp = registers[10];
    self.thread_pointer = registers[11];
#endif
    const Result result = tasks.alone() ? Result::stopped : Result::not_stopped;
    callback(context, World{result, &self, 1});
    return result;
}

/// How far the helper came; `refused` when there was none.
Phase run_helper(Shared& shared, void* stack_top) {
    const BlockSignals block;
    // Untraced: a debugger that follows forks would stop it. No exit signal: the program must not hear of a child it does not know.
    const long helper = raw_clone(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_UNTRACED, stack_top, help, &shared);
    if (helper < 0) return refused;
    // Where Yama watches, only declared processes may trace us.
    const bool declared = raw_syscall(SYS_prctl, PR_SET_PTRACER, helper, 0, 0, 0) == 0;
    shared.go.store(1);
    raw_syscall(SYS_futex, &shared.go, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
    // ECHILD: the program's own wait took it, so it has ended.
    while (raw_syscall(SYS_wait4, helper, nullptr, __WALL, nullptr) == -EINTR) {
    }
    if (declared) raw_syscall(SYS_prctl, PR_SET_PTRACER, 0, 0, 0, 0);
    return static_cast<Phase>(shared.phase.load());
}

}  // namespace

Result run(Callback callback, void* context) {
    const int saved = errno;
    Result result;
    {
        const Guard guard(one_run);
        const Dumpable dumpable;
        const TaskDirectory tasks;
        hidden::Memory memory;
        Phase phase = refused;
        if (tasks.descriptor() >= 0 && memory.get(total_size)) {
            char* const bytes = memory.as<char>();
            Shared& shared = *memory.as<Shared>();
            shared.callback = callback;
            shared.context = context;
            shared.task_directory = tasks.descriptor();
            shared.process = static_cast<int>(raw_syscall(SYS_getpid));
            if (raw_syscall(SYS_mprotect, bytes + shared_size, guard_size, PROT_NONE) == 0) phase = run_helper(shared, bytes + total_size);
        }
        if (phase == done) result = Result::stopped;
        else if (phase == in_callback) result = Result::failed;
        else result = run_here(tasks, callback, context);
    }
    errno = saved;
    return result;
}

#else

Result run(void (*callback)(void* context, const World& world), void* context) {
    const Guard guard(one_run);
    const World world{Result::not_stopped, nullptr, 0};
    callback(context, world);
    return Result::not_stopped;
}

#endif

}  // namespace mpmm::stop_world
