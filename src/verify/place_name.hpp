// SPDX-License-Identifier: Apache-2.0
// What an address that is no block's belongs to, in words.
#pragma once

#include "verify/report.hpp"

namespace mpmm::report {

/// Adds "on the stack of this thread", "in /usr/lib/libx.so", … to a line; `sp` is the thread's stack pointer.
void name_place(Line& line, const void* address, std::uintptr_t sp);

}  // namespace mpmm::report
