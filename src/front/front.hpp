// SPDX-License-Identifier: Apache-2.0
// What the APIs call: the heap itself in release, the heap behind records, redzones and quarantine in verify.
#pragma once

#include "front/checked.hpp"
#include "front/direct.hpp"
#include "heap/build_heap.hpp"

#include <type_traits>

namespace mpmm {

using Front = std::conditional_t<BuildConfig::Verify::enabled, CheckedFront<BuildHeap>, DirectFront<BuildHeap>>;

}  // namespace mpmm
