// SPDX-License-Identifier: Apache-2.0
// What a fuzz target shares with its drivers, libFuzzer and replay.cpp, beside LLVMFuzzerTestOneInput.
#pragma once

#include "harness/failure.hpp"

#include <cstdlib>
#include <iostream>

namespace mpmm::fuzz {

/// Where a target writes what it does before it does it; null: nowhere.
inline std::ostream* trace = nullptr;

/// Calls the function when the allocator's own checks end the process with abort(), before the driver keeps the input. The first call counts.
void show_on_abort(void (*function)());

/// Runs one input. A failed check ends the process, as the drivers expect.
template <class Run>
int judge(Run run) {
    try {
        run();
    } catch (const Failure& failure) {
        std::cerr << "FAILED: " << failure.message << std::endl;
        std::abort();
    }
    return 0;
}

}  // namespace mpmm::fuzz
