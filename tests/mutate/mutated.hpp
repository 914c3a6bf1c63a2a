// SPDX-License-Identifier: Apache-2.0
// Included before every source when all weaker memory orders are built at once: MPMM_MUTANT says which of them is at work; see orders.py.
#pragma once

#include <atomic>
#include <cstdlib>

namespace mutated {

/// 0 until this is initialised, and when there is no such variable: the sources as they are.
inline const int number = [] {
    const char* const text = std::getenv("MPMM_MUTANT");
    return text == nullptr ? 0 : std::atoi(text);
}();

inline std::memory_order order(std::memory_order original, int mutant, std::memory_order weaker) {
    return number == mutant ? weaker : original;
}

}  // namespace mutated
