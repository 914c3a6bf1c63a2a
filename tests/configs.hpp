// SPDX-License-Identifier: Apache-2.0
// The geometries every layer is tested with: real ones, and lines and pages this machine does not have.
#pragma once

#include "heap/config.hpp"

#include <gtest/gtest.h>

namespace mpmm::test {

using Configs = ::testing::Types<Config<Geometry<4096, 64>, BuildVerify, 8>, Config<Geometry<4096, 32>, BuildVerify, 128>,
                                 Config<Geometry<4096, 128>, BuildVerify, 16>, Config<Geometry<16384, 64>, BuildVerify, 64>,
                                 Config<Geometry<65536, 128>, BuildVerify, 32>, Config<Geometry<65536, 32>, BuildVerify, 0>>;

}  // namespace mpmm::test
