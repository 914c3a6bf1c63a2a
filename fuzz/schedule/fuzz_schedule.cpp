// SPDX-License-Identifier: Apache-2.0
// libFuzzer's driver of thread schedules: the operations of two to four virtual threads, and who goes on at each atomic access.
#include "schedule/scheduled_executor.hpp"

#include <csignal>
#include <cstdlib>
#include <iostream>

using namespace mpmm::fuzz;

namespace {

const ScheduledProgram* running = nullptr;
struct sigaction libfuzzer_abort;

/// The allocator's own checks end in abort(): show the program, then let libFuzzer keep the input.
void on_abort(int signal, siginfo_t* info, void* context) {
    if (running != nullptr) std::cerr << describe(*running) << std::flush;
    if (libfuzzer_abort.sa_sigaction != nullptr) libfuzzer_abort.sa_sigaction(signal, info, context);
}

void hook_abort() {
    struct sigaction action{};
    action.sa_sigaction = on_abort;
    action.sa_flags = SA_SIGINFO;
    ::sigaction(SIGABRT, &action, &libfuzzer_abort);
}

}  // namespace

/// The model allocates much and shortly: long stacks and a long quarantine for it would cost more than the runs.
extern "C" const char* __asan_default_options() { return "malloc_context_size=3:quarantine_size_mb=1:detect_stack_use_after_return=0"; }

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static FiberScheduler scheduler;
    static Subject subject;
    static ScheduledExecutor executor(subject, scheduler);
    static const bool hooked = (hook_abort(), true);
    (void)hooked;
    const ScheduledProgram scheduled = decode_scheduled({data, size});
    running = &scheduled;
    if (const auto failure = executor.run(scheduled)) {
        std::cerr << "FAILED: " << failure->message << '\n';
        std::abort();
    }
    running = nullptr;
    return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t most, unsigned seed) {
    Random random(seed);
    return mutate_scheduled(data, size, most, random);
}
