// SPDX-License-Identifier: Apache-2.0
// The machines that the index arithmetic is proved for: those of tests/configs.hpp, 32-bit ones, and the longest and shortest lines.
#pragma once

#include "platform/geometry.hpp"

#include <tuple>

namespace mpmm::test {

using Geometries = std::tuple<Geometry<4096, 64>, Geometry<4096, 32>, Geometry<4096, 128>, Geometry<4096, 64, 4>, Geometry<4096, 32, 4>,
                              Geometry<16384, 64>, Geometry<16384, 128>, Geometry<65536, 32>, Geometry<65536, 64>, Geometry<65536, 128>,
                              Geometry<65536, 256>, Geometry<4096, 16>, Geometry<4096, 256>>;

/// Calls visit.operator()<G>() for each.
template <class Visit>
void for_each_geometry(Visit visit) {
    [&]<class... G>(std::tuple<G...>*) { (visit.template operator()<G>(), ...); }(static_cast<Geometries*>(nullptr));
}

}  // namespace mpmm::test
