// SPDX-License-Identifier: Apache-2.0
// What the targets share whose inputs are programs for the whole heap.
#pragma once

#include "harness/target.hpp"

namespace mpmm::fuzz {

class Executor;

extern const Shape heap_inputs;

/// Runs one input by the executor.
int run_heap_input(const std::uint8_t* data, std::size_t size, Executor& executor);

}  // namespace mpmm::fuzz
