// SPDX-License-Identifier: Apache-2.0
// Runs a function while every other thread of the process stands still, and tells it where they stand.
//
//   caller                           helper: a process of its own in the same memory
//   ------                           -----------------------------------------------
//   clone ─────────────────────────▶ waits until the caller allowed it to trace
//   waits for the helper's end       seizes every thread of the process, the caller included, until no new one appears
//                                    reads their registers, runs the function, lets them go, ends
//   goes on
//
// A thread cannot trace its own process, hence the helper. When the system does not let us (a debugger traces us already, a sandbox), the
// function runs in the caller and the others run on: World says so.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mpmm::stop_world {

struct Thread {
    int tid;
    /// 0 when unknown: the thread sleeps in the kernel where nobody can stop it. It does not run, but its registers cannot be read.
    std::uintptr_t sp, thread_pointer;
    /// General registers, then those of the vector unit, as far as known; stack pointer and thread pointer are among them.
    const std::uintptr_t* registers;
    std::size_t register_count;
};

enum class Result {
    stopped,
    not_stopped,  ///< the function ran while other threads ran
    failed,       ///< the function began and its task was killed, or crashed, before it returned
};

struct World {
    Result result;
    /// All threads when stopped; else the calling one only.
    const Thread* threads;
    std::size_t count;
};

inline constexpr std::size_t max_threads = 4096;

/// Runs callback(context, world) once. The callback may run on another task with the caller's thread-local memory: it must take no lock that
/// another thread may hold, must not allocate from the heap, and getpid() is not this process. Threads that wait in epoll_wait() and few
/// other system calls get EINTR, as after a SIGSTOP. Keeps errno. One run at a time; a second caller waits.
Result run(void (*callback)(void* context, const World& world), void* context);

/// In the child of fork: whoever ran does not exist here.
void reset_after_fork();

}  // namespace mpmm::stop_world
