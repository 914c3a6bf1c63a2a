// SPDX-License-Identifier: Apache-2.0
// From a size selector to a size. Bugs sit at boundaries, so a selector names a boundary and how far to step from it:
//
//     | fine, 7 bits | boundary, 7 bits | nudge, 2 bits |       nudge: 0 exactly, 1 one less, 2 one more, 3 `fine` 128ths below
//
// Boundaries are every size class, then page and chunk sizes up to the largest that a run should cost, then sizes nobody can have.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mpmm::fuzz {

/// The size a selector stands for.
std::size_t request_size(std::uint16_t selector);
/// Whether a request can never be met.
bool impossible(std::size_t size);
/// A power of two from 1 to 4 chunks.
std::size_t request_alignment(std::uint16_t selector);

inline constexpr std::uint16_t nudge_mask = 3;
/// Selector of boundary `index`, exactly.
constexpr std::uint16_t boundary(unsigned index) { return static_cast<std::uint16_t>((index & 127u) << 2); }

}  // namespace mpmm::fuzz
