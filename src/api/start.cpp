// SPDX-License-Identifier: Apache-2.0
// What the library does when it is loaded. The allocator itself needs no start: it works before this runs.
#include "front/front.hpp"

const char mpmm::start_anchor = 0;

namespace {

[[gnu::constructor(101)]] void start() { mpmm::Front::start(); }

}  // namespace
