// SPDX-License-Identifier: Apache-2.0
// Shows all memory from which a program reaches its blocks: registers, the used part of stacks, thread-local memory, global variables, and
// what the program mapped itself. Not shared memory, not files as they are on disk, not the allocator's own memory.
#pragma once

#include "platform/stop_world.hpp"

#include <cstddef>
#include <cstdint>

namespace mpmm::roots {

/// Whether the byte at `address` is none of the program's, because it is the allocator's. `end` comes in beyond `address`; the function
/// lowers it to where its answer may change, and is asked again there. So allocator's memory may begin and end anywhere in a mapping.
using Excluded = bool (*)(void* context, std::uintptr_t address, std::uintptr_t& end);
/// Words to look at. They may be copies: they are good during the call only, and their addresses mean nothing.
using Visit = void (*)(void* context, const std::uintptr_t* begin, const std::uintptr_t* end);

/// Call in the callback of stop_world::run(). False when the system does not show its mappings: then nothing is known about roots.
bool visit(const stop_world::World& world, Excluded excluded, Visit visit, void* context);

}  // namespace mpmm::roots
