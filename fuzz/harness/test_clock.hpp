// SPDX-License-Identifier: Apache-2.0
// The allocator's clock in these programs: it stands still until an operation moves it, so that a run does not depend on how fast the
// machine is. The link step routes clock_gettime here (-Wl,--wrap); other clocks than the allocator's stay the system's.
#pragma once

#include <cstdint>

namespace mpmm::fuzz {

/// What it shows when the program begins.
inline constexpr std::uint64_t first_ms = 1'000'000;

void set_clock(std::uint64_t milliseconds);
/// Lets `milliseconds` pass.
void advance_clock(std::uint64_t milliseconds);

}  // namespace mpmm::fuzz
