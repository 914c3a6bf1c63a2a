// SPDX-License-Identifier: Apache-2.0
// Faults of the processor at addresses that are ours. All others go on to whoever would have had them: the program's handler, which may be
// installed before or after ours, or the system.
#pragma once

#include <csignal>

namespace mpmm::fault {

/// True when the fault was ours and the instruction may be tried again. Runs in the signal handler.
enum class Access { read, write, execute };
using Handler = bool (*)(const void* address, Access access, const void* context);

/// Takes SIGSEGV and SIGBUS; the program's handlers so far are remembered. Once.
void install(Handler handler);
/// In fork's child.
void reset_after_fork();
/// sigaction() as the program sees it for the two signals, once install() ran; false for every other call, which is the system's.
bool sigaction_of_program(int signal, const struct sigaction* action, struct sigaction* old, int& result);

}  // namespace mpmm::fault
