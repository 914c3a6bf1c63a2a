// SPDX-License-Identifier: Apache-2.0
// The parameters of a heap as one type. Tests make others; the libraries use BuildConfig.
#pragma once

#include "platform/geometry.hpp"
#include "verify/policy.hpp"

namespace mpmm {

template <class GeometryType, class VerifyType, std::size_t IntrusiveMax>
struct Config {
    using Geometry = GeometryType;
    using Verify = VerifyType;
    /// Block allocators of sizes up to this keep their metadata in their own blocks. Measured, see docs/architecture.md.
    static constexpr std::size_t intrusive_max = IntrusiveMax;
};

using BuildConfig = Config<Geometry<4096, 64>, BuildVerify, 8>;

}  // namespace mpmm
