// SPDX-License-Identifier: Apache-2.0
// A run: consecutive chunks that are one large block, or free. Its descriptor is type-stable: recycled as a Run, never anything else.
#pragma once

#include "block/tenant_map.hpp"
#include "verify/policy.hpp"

#include <cstddef>

namespace mpmm {

/// Address space in whole chunks.
struct Extent {
    std::byte* base = nullptr;
    std::size_t chunks = 0;
    std::uint64_t origin = 0;  ///< number of the backend allocation it was cut from; addresses come back, numbers do not
    bool clean = false;        ///< no page of it is in memory
};

/// owner_word is large_used or large_free.
struct alignas(tenant_alignment) Run : Tenant {
    Extent extent;
    std::size_t size = 0;     ///< bytes the user may use, whole pages
    std::uint64_t since = 0;  ///< when it became free or was purged, in milliseconds
    bool huge = false;        ///< straight from the backend: extent.chunks is rounded up, only `size` bytes are mapped
    Run* previous = nullptr;
    Run* next = nullptr;
    MPMM_NO_UNIQUE_ADDRESS BuildVerify::RunRecord record;
};

}  // namespace mpmm
