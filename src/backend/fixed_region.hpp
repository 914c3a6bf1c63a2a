// SPDX-License-Identifier: Apache-2.0
// A backend inside memory the caller hands over: a bit per page at the region's start says which pages are taken.
//
//     | header | page bits | page 0 | page 1 | …                          one bit per page, 1 = taken
//
// Small requests take the lowest fit and aligned ones the highest, so metadata does not break up the chunks. A request scans the bits:
// requests are chunks, rare and large. Thread-safe by one lock.
#pragma once

#include "mpmm/mpmm.h"

#include <cstddef>

namespace mpmm {

/// Builds the backend; false when the region cannot hold its bookkeeping and one aligned chunk of `chunk` bytes and a page.
bool make_fixed_region(mpmm_backend& backend, void* memory, std::size_t size, std::size_t page, std::size_t chunk);

}  // namespace mpmm
