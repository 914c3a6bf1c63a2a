// SPDX-License-Identifier: Apache-2.0
#include "harness/isolated.hpp"

#include "harness/executor.hpp"

namespace mpmm::fuzz {

std::optional<Failure> run_isolated(const Program& program, const std::function<std::unique_ptr<Subject>()>& make_subject) {
    return in_child([&] { return Executor(*make_subject()).run(program); });
}

std::optional<Failure> run_isolated(const Program& program) {
    return run_isolated(program, [] { return std::make_unique<Subject>(); });
}

}  // namespace mpmm::fuzz
