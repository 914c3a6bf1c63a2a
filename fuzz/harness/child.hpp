// SPDX-License-Identifier: Apache-2.0
// A function in a child process.
#pragma once

#include "harness/failure.hpp"

#include <functional>
#include <optional>

namespace mpmm::fuzz {

/// Calls the function in a child, and returns what it returned. A child that dies is a failure too. `with_errors`: the text of a failure begins
/// with what the child wrote to stderr.
std::optional<Failure> in_child(const std::function<std::optional<Failure>()>& function, bool with_errors = false);

}  // namespace mpmm::fuzz
