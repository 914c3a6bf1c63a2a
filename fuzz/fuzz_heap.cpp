// SPDX-License-Identifier: Apache-2.0
// libFuzzer's driver of the whole heap: every single-threaded operation, three thread caches, faults of the backend.
#include "harness/executor.hpp"
#include "harness/mutator.hpp"
#include "harness/print.hpp"

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <iostream>

using namespace mpmm::fuzz;

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t most);

namespace {

/// What runs now, for whoever dies in it.
const Program* running = nullptr;
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
extern "C" const char* __asan_default_options() { return "malloc_context_size=3:quarantine_size_mb=1"; }

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const bool hooked = (hook_abort(), true);
    static Subject subject;
    static Executor executor(subject);
    (void)hooked;
    const Program program = decode({data, size});
    running = &program;
    const auto failure = executor.run(program);
    if (failure) {
        std::cerr << "FAILED: " << failure->message << '\n';
        std::abort();
    }
    running = nullptr;
    return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t most, unsigned seed) {
    Random random(seed);
    // Now and then libFuzzer's own way, which knows what the allocator compared its numbers with.
    if (random() % 8 == 0) return LLVMFuzzerMutate(data, size, most);
    return mutate(data, size, most, random);
}

extern "C" std::size_t LLVMFuzzerCustomCrossOver(const std::uint8_t* first, std::size_t first_size, const std::uint8_t* second,
                                                 std::size_t second_size, std::uint8_t* out, std::size_t most, unsigned seed) {
    Random random(seed);
    return cross(first, first_size, second, second_size, out, most, random);
}
