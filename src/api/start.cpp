// SPDX-License-Identifier: Apache-2.0
// What the library does when it is loaded. The allocator itself needs no start: it works before this runs.
#include "front/front.hpp"
#include "platform/compiler.hpp"

const char mpmm::start_anchor = 0;

namespace {

MPMM_AT_START(start)
void start() { mpmm::Front::start(); }

}  // namespace
