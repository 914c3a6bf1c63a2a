// SPDX-License-Identifier: Apache-2.0
// The whole heap: every single-threaded operation, three thread caches, faults of the backend.
#include "harness/executor.hpp"
#include "harness/print.hpp"
#include "harness/target.hpp"

#include <csignal>

using namespace mpmm::fuzz;

namespace {

/// What runs now, for whoever dies in it.
const Program* running = nullptr;
struct sigaction driver_abort;

/// The allocator's own checks end in abort(): show the program, then let the driver keep the input.
void on_abort(int signal, siginfo_t* info, void* context) {
    if (running != nullptr) std::cerr << describe(*running) << std::flush;
    if (driver_abort.sa_sigaction != nullptr) driver_abort.sa_sigaction(signal, info, context);
}

void hook_abort() {
    struct sigaction action{};
    action.sa_sigaction = on_abort;
    action.sa_flags = SA_SIGINFO;
    ::sigaction(SIGABRT, &action, &driver_abort);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const bool hooked = (hook_abort(), true);
    static Subject subject;
    static Executor executor(subject);
    (void)hooked;
    const Program program = decode({data, size});
    running = &program;
    judge([&] {
        if (const auto failure = executor.run(program, trace)) throw *failure;
    });
    running = nullptr;
    return 0;
}
