// SPDX-License-Identifier: Apache-2.0
// The heap of the libraries.
#pragma once

#include "heap/heap.hpp"

namespace mpmm {

using BuildHeap = Heap<BuildConfig>;

}  // namespace mpmm
