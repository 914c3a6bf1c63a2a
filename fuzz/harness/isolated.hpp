// SPDX-License-Identifier: Apache-2.0
// A run in a child process: whatever it does to the allocator, or the allocator to it, the next run starts from the same heap.
#pragma once

#include "harness/failure.hpp"
#include "harness/operation.hpp"
#include "harness/subject.hpp"

#include <functional>
#include <memory>
#include <optional>

namespace mpmm::fuzz {

/// Calls the function in a child, and returns what it returned. A child that dies is a failure too. `with_errors`: the text of a failure begins
/// with what the child wrote to stderr.
std::optional<Failure> in_child(const std::function<std::optional<Failure>()>& function, bool with_errors = false);

/// Runs the program against what `make_subject` makes, in a child.
std::optional<Failure> run_isolated(const Program& program, const std::function<std::unique_ptr<Subject>()>& make_subject);
/// The same against the allocator itself.
std::optional<Failure> run_isolated(const Program& program);

}  // namespace mpmm::fuzz
