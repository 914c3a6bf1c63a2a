// SPDX-License-Identifier: Apache-2.0
// A run in a child process: whatever it does to the allocator, or the allocator to it, the next run starts from the same heap.
#pragma once

#include "harness/child.hpp"
#include "harness/operation.hpp"
#include "harness/subject.hpp"

#include <functional>
#include <memory>
#include <optional>

namespace mpmm::fuzz {

/// Runs the program against what `make_subject` makes, in a child.
std::optional<Failure> run_isolated(const Program& program, const std::function<std::unique_ptr<Subject>()>& make_subject);
/// The same against the allocator itself.
std::optional<Failure> run_isolated(const Program& program);

}  // namespace mpmm::fuzz
