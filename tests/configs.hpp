// SPDX-License-Identifier: Apache-2.0
// The geometries every layer is tested with: real ones, and lines and pages this machine does not have. Sanitizers and emulators meet half of
// them, because compiling the layers for each takes longer than all their tests; geometry/geometry_test.cpp has whole heaps of every one.
#pragma once

#include "heap/config.hpp"

#include <gtest/gtest.h>
#include <type_traits>

namespace mpmm::test {

#ifdef MPMM_FEW_GEOMETRIES
// Chunks of 64 MiB are too few where there are 4 GiB of addresses.
using Largest = std::conditional_t<sizeof(void*) == 4, Geometry<16384, 64>, Geometry<65536, 128>>;
using Configs = ::testing::Types<Config<Geometry<4096, 64>, BuildVerify, 8>, Config<Geometry<4096, 32>, BuildVerify, 128>,
                                 Config<Largest, BuildVerify, 32>>;
#else
using Configs = ::testing::Types<Config<Geometry<4096, 64>, BuildVerify, 8>, Config<Geometry<4096, 32>, BuildVerify, 128>,
                                 Config<Geometry<4096, 128>, BuildVerify, 16>, Config<Geometry<16384, 64>, BuildVerify, 64>,
                                 Config<Geometry<65536, 128>, BuildVerify, 32>, Config<Geometry<65536, 32>, BuildVerify, 0>>;
#endif

}  // namespace mpmm::test
