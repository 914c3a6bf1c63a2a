// SPDX-License-Identifier: Apache-2.0
// Runs another program with its input and output on pipes, while this process may be broken: no allocation, no lock, no fork handlers,
// and the program we are in cannot tell. For any thread and any signal handler.
//
//   this process ──clone, no exit signal──> supervisor ──fork──> the other program
//        └──────────────────── pipes ──────────────────────────────────┘
//
// The supervisor is a copy of this process that never becomes another program: exec would give it the usual exit signal back, and then
// the program's SIGCHLD handler and its wait() would meet a child they know nothing of. It waits for the other program, ends it with all
// its descendants when told to, and is itself visible to wait() with __WALL or __WCLONE only.
#pragma once

#include <cstddef>

namespace mpmm::child_process {

/// The two ends of the conversation.
struct Dialogue {
    /// Puts the next piece of the program's input into the buffer; its size, or 0 for the end.
    std::size_t (*supply)(void* context, char* buffer, std::size_t room);
    /// Gets a piece of the program's output; false ends the conversation.
    bool (*receive)(void* context, const char* data, std::size_t size);
    void* context;
    char* buffer;  ///< room for the pieces, half of it each way
    std::size_t room;
};

enum class Outcome {
    ended,        ///< the program ended, whatever its exit status
    not_started,  ///< no memory, no process, or no such program
    stopped,      ///< receive() had enough
    timed_out,    ///< silent for too long, or busy for six times as long; it was killed
};

/// Runs `path` with `arguments` (the program's name first, null at the end). Its environment is ours without LD_PRELOAD and MPMM_OPTIONS,
/// its errors go to /dev/null, it has no other descriptors, and all its signals are at their defaults.
Outcome run(const char* path, const char* const* arguments, const Dialogue& dialogue, unsigned silence_ms);

}  // namespace mpmm::child_process
