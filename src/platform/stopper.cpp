// SPDX-License-Identifier: Apache-2.0
#include "platform/stopper.hpp"

#ifdef MPMM_RAW_SYSCALL

#include "platform/proc_task.hpp"

#include <cerrno>
#include <elf.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#if defined(__aarch64__) && !defined(NT_ARM_TLS)
#define NT_ARM_TLS 0x401
#endif

namespace mpmm::stop_world {
namespace {

using State = Stopper::Record::State;

// From sys/ptrace.h these are enumerators on some systems and macros on others.
constexpr long ptrace_seize = 0x4206, ptrace_interrupt = 0x4207, ptrace_getregset = 0x4204, ptrace_detach = 17;
#if defined(__i386__)
constexpr long ptrace_get_thread_area = 25;
#endif

constexpr std::uint64_t ms = 1'000'000;
// A thread in uninterruptible sleep usually waits for a disk or for its vfork child, which is short.
constexpr std::uint64_t asleep_after = 300 * ms;
// A thread that runs needs a processor to arrive in its stop; on a machine with much more to do than it can that takes its time.
constexpr std::uint64_t hopeless_after = 10'000 * ms;

std::uint64_t now() {
    KernelTime time{};
    raw_syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &time);
    return static_cast<std::uint64_t>(time.seconds) * 1000 * ms + static_cast<std::uint64_t>(time.nanoseconds);
}

void pause(std::uint64_t nanoseconds) {
    const KernelTime time{0, static_cast<long>(nanoseconds)};
    raw_syscall(SYS_nanosleep, &time, nullptr);
}

}  // namespace

Stopper::Seized Stopper::seize(int tid) {
    const long error = raw_syscall(SYS_ptrace, ptrace_seize, tid, 0, 0);
    if (error == -ESRCH) return Seized::ended;
    if (error != 0) {
        // A thread that ended is listed until somebody reaps it; the main thread as long as others live.
        const char state = proc_task::state(directory_, tid);
        return state == 'Z' || state == 'X' ? Seized::ended : Seized::refused;
    }
    raw_syscall(SYS_ptrace, ptrace_interrupt, tid, 0, 0);
    return Seized::yes;
}

bool Stopper::seize_new(std::size_t& fresh) {
    fresh = 0;
    bool refused = false;
    const bool listed = proc_task::each(directory_, [&](int tid) {
        // A number of a thread that is gone may be that of a new one.
        for (std::size_t i = 0; i < count_; ++i)
            if (tables_.records[i].tid == tid && tables_.records[i].state != State::gone) return true;
        if (count_ == max_threads) {
            refused = true;
            return false;
        }
        switch (seize(tid)) {
            case Seized::yes:
                tables_.records[count_++] = {tid, State::pending, 0};
                ++fresh;
                return true;
            case Seized::ended: return true;
            case Seized::refused: break;
        }
        refused = true;
        return false;
    });
    return listed && !refused;
}

bool Stopper::poll(Record& record) {
    int status = 0;
    const long result = raw_syscall(SYS_wait4, record.tid, &status, __WALL | WNOHANG, nullptr);
    if (result == 0 || result == -EINTR) return false;
    if (result == record.tid && WIFSTOPPED(status)) {
        record.state = State::stopped;
        // Stopped on its way to a signal's handler instead of by us: any stop is good, but the signal must not be lost.
        if (status >> 16 == 0) record.signal = static_cast<std::uint8_t>(WSTOPSIG(status));
    } else {
        record.state = State::gone;
    }
    return true;
}

bool Stopper::wait_all() {
    std::uint64_t last = now(), nap = ms / 50;
    for (bool first = true;; first = false) {
        std::size_t pending = 0;
        bool progress = false;
        for (std::size_t i = 0; i < count_; ++i) {
            Record& record = tables_.records[i];
            if (record.state == State::pending || (first && record.state == State::asleep)) progress |= poll(record);
            pending += record.state == State::pending;
        }
        if (pending == 0) return true;
        const std::uint64_t time = now();
        if (progress) last = time;
        if (time - last > asleep_after) {
            for (std::size_t i = 0; i < count_; ++i) {
                Record& record = tables_.records[i];
                if (record.state != State::pending) continue;
                const char state = proc_task::state(directory_, record.tid);
                // The main thread's end is reported to nobody as long as others live.
                if (state == 'Z' || state == 'X') record.state = State::gone;
                if (state == 'D') record.state = State::asleep;
            }
        }
        if (time - last > hopeless_after) return false;
        pause(nap);
        if (nap < 2 * ms) nap *= 2;
    }
}

bool Stopper::stop_all() {
    // A listing can miss a thread when others end or begin while it is read. Once everybody known stands still, a second listing without
    // news tells that there is nobody else.
    for (int quiet = 0; quiet < 2;) {
        std::size_t fresh;
        if (!seize_new(fresh) || !wait_all()) return false;
        quiet = fresh == 0 ? quiet + 1 : 0;
    }
    return true;
}

bool Stopper::read_stopped(const Record& record, Thread& thread, std::uintptr_t (&registers)[register_room]) {
    iovec general{registers, sizeof registers};
    if (raw_syscall(SYS_ptrace, ptrace_getregset, record.tid, NT_PRSTATUS, &general) != 0) return false;
    std::size_t count = general.iov_len / sizeof(std::uintptr_t);
#if defined(__x86_64__)
    // struct user_regs_struct
    constexpr std::size_t rsp = 19, fs_base = 21;
    constexpr long vectors[] = {NT_X86_XSTATE, NT_PRFPREG};
    thread.sp = registers[rsp];
    thread.thread_pointer = registers[fs_base];
#elif defined(__i386__)
    // struct user_regs_struct
    constexpr std::size_t xgs = 10, esp = 15;
    constexpr long vectors[] = {NT_X86_XSTATE, NT_PRXFPREG, NT_PRFPREG};
    thread.sp = registers[esp];
    // The thread pointer is the base of the segment that gs selects: struct user_desc, of which it is the second word.
    std::uintptr_t segment[4] = {};
    if (raw_syscall(SYS_ptrace, ptrace_get_thread_area, record.tid, registers[xgs] >> 3, segment) == 0)
        registers[count++] = thread.thread_pointer = segment[1];
#else
    // struct user_pt_regs
    constexpr std::size_t sp = 31;
    constexpr long vectors[] = {NT_PRFPREG};
    thread.sp = registers[sp];
    iovec pointer{registers + count, sizeof(std::uintptr_t)};
    if (raw_syscall(SYS_ptrace, ptrace_getregset, record.tid, NT_ARM_TLS, &pointer) == 0) thread.thread_pointer = registers[count++];
#endif
    for (const long kind : vectors) {
        iovec vector{registers + count, (register_room - count) * sizeof(std::uintptr_t)};
        if (raw_syscall(SYS_ptrace, ptrace_getregset, record.tid, kind, &vector) != 0) continue;
        count += vector.iov_len / sizeof(std::uintptr_t);
        break;
    }
    thread.registers = registers;
    thread.register_count = count;
    return true;
}

void Stopper::read_asleep(const Record& record, Thread& thread, std::uintptr_t (&registers)[register_room]) {
    std::uintptr_t words[8];
    const std::size_t count = proc_task::blocked_words(directory_, record.tid, words);
    for (std::size_t i = 0; i < count; ++i) registers[i] = words[i];
    thread.sp = count == 0 ? 0 : words[count - 2];
    thread.registers = registers;
    thread.register_count = count;
}

std::size_t Stopper::read_registers() {
    std::size_t known = 0;
    for (std::size_t i = 0; i < count_; ++i) {
        Record& record = tables_.records[i];
        if (record.state == State::asleep) poll(record);
        if (record.state == State::gone) continue;
        Thread& thread = tables_.threads[known];
        thread = {record.tid, 0, 0, nullptr, 0};
        if (record.state == State::asleep) read_asleep(record, thread, tables_.registers[known]);
        // Killed meanwhile: it has no registers any more.
        else if (!read_stopped(record, thread, tables_.registers[known])) continue;
        ++known;
    }
    return known;
}

void Stopper::release_all() {
    for (std::size_t i = 0; i < count_; ++i) {
        Record& record = tables_.records[i];
        if (record.state == State::asleep || record.state == State::pending) poll(record);
        // Who does not stand is let go when the helper ends.
        if (record.state == State::stopped) raw_syscall(SYS_ptrace, ptrace_detach, record.tid, 0, static_cast<int>(record.signal));
    }
}

}  // namespace mpmm::stop_world

#endif
