// SPDX-License-Identifier: Apache-2.0
// Programs that commit heap errors, in verify mode: each error is reported once, by its right name, and nothing else is.
#include "harness/heap_target.hpp"
#include "misuse/misuse_executor.hpp"

using namespace mpmm::fuzz;

namespace {

[[maybe_unused]] const unsigned kinds_of_this_target = known_kinds = static_cast<unsigned>(Kind::count_with_misuses);

}  // namespace

const Shape mpmm::fuzz::shape = heap_inputs;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    // Of this run alone: what outlives a run, libFuzzer takes for a leak, and runs it again.
    MisuseExecutor executor;
    return run_heap_input(data, size, executor);
}
