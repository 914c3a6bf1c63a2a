// SPDX-License-Identifier: Apache-2.0
// A case that changes what belongs to the whole process, such as settings or limits, runs in a child of its own.
#pragma once

#include "harness/child.hpp"

#include <rapidcheck.h>

namespace mpmm::test {

/// Runs check() in a child; an assertion that fails there fails here. Values must be generated before.
template <class Check>
void in_child(Check check) {
    const auto failure = fuzz::in_child([&]() -> std::optional<fuzz::Failure> {
        try {
            check();
            return std::nullopt;
        } catch (const rc::detail::CaseResult& result) {
            return fuzz::Failure{result.description};
        }
    });
    if (failure) RC_FAIL(failure->message);
}

}  // namespace mpmm::test
