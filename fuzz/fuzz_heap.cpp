// SPDX-License-Identifier: Apache-2.0
// The whole heap: every single-threaded operation, four thread caches, faults of the backend.
#include "harness/executor.hpp"
#include "harness/heap_target.hpp"

using namespace mpmm::fuzz;

const Shape mpmm::fuzz::shape = heap_inputs;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static Subject subject;
    static Executor executor(subject);
    return run_heap_input(data, size, executor);
}
