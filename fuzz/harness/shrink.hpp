// SPDX-License-Identifier: Apache-2.0
// Makes an input that fails smaller: fewer items, then smaller numbers, as long as it fails the same way (A. Zeller and R. Hildebrandt,
// "Simplifying and Isolating Failure-Inducing Input", IEEE TSE 2002).
#pragma once

#include "harness/target.hpp"

#include <functional>

namespace mpmm::fuzz {

/// Whether an input fails, in the way that is of interest.
using Fails = std::function<bool(const Bytes&)>;

/// The smallest input found. `input` fails; so does what is returned. Calls `fails` at most `runs` times.
Bytes shrink(const Shape& of_input, Bytes input, const Fails& fails, unsigned runs = 20'000);

}  // namespace mpmm::fuzz
