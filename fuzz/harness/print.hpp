// SPDX-License-Identifier: Apache-2.0
// Programs as text for people.
#pragma once

#include "harness/model.hpp"
#include "harness/operation.hpp"
#include "harness/test_backend.hpp"

#include <string>

namespace mpmm::fuzz {

const char* name(Kind kind);
/// One operation as it stands in the program: "T1 realloc size 129 slot 7 variant 0".
std::string describe(const Operation& operation);
/// The same with what it means now: which block, how long.
std::string describe(const Operation& operation, const Model& model);
/// The backend: "not zeroed, cannot purge".
std::string describe(const Flavour& flavour);
/// The whole program, one operation a line.
std::string describe(const Program& program);

}  // namespace mpmm::fuzz
