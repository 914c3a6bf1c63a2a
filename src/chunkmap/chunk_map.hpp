// SPDX-License-Identifier: Apache-2.0
// Chooses the chunk map for the pointer size.
#pragma once

#include "chunkmap/digital_tree.hpp"
#include "chunkmap/flat_map.hpp"

#include <type_traits>

namespace mpmm {

template <class G, class Entries>
using ChunkMap = std::conditional_t<G::pointer == 4, FlatMap<G, Entries>, DigitalTree<G, Entries>>;

}  // namespace mpmm
