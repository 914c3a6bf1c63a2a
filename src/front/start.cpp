// SPDX-License-Identifier: Apache-2.0
// What the verify build does when the process begins and ends, and where its records come from.
#include "front/front.hpp"
#include "platform/compiler.hpp"
#include "verify/memory.hpp"

namespace mpmm {

void* record_memory(std::size_t size, std::size_t alignment) { return BuildHeap::shared.memory.allocate(size, alignment); }

namespace {

MPMM_AT_END(finish)
void finish() { Front::finish(); }

}  // namespace
}  // namespace mpmm
