// SPDX-License-Identifier: Apache-2.0
// What is wrong with the report of a case; the judgement apart from the running, so that it can itself be tested.
#pragma once

#include "detect/cases.hpp"

#include "support/process.hpp"

#include <string>
#include <vector>

namespace mpmm::detect {

/// One text for each thing that is not as the case wants it; none when all is well.
std::vector<std::string> complaints(const Case& test, const test::Outcome& outcome);

}  // namespace mpmm::detect
