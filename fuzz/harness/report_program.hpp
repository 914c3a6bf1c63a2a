// SPDX-License-Identifier: Apache-2.0
// The last operations that verify printed with a report (trace_ops=N), as a program: what went wrong where no fuzzer runs is replayed and
// made smaller here.
#pragma once

#include "harness/operation.hpp"

#include <optional>
#include <string>

namespace mpmm::fuzz {

/// The same allocations and frees, by the same threads as far as there are virtual ones, of the same sizes but for longer ones, which are rounded a little, on
/// the system's backend. Frees of blocks from before the first operation are left out, and second frees; what is allocated when a program has
/// all the blocks it may have as well. Nothing when the text has no operations in it.
std::optional<Program> program_of_report(const std::string& text);

}  // namespace mpmm::fuzz
