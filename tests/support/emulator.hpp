// SPDX-License-Identifier: Apache-2.0
// What runs the tests, when they are for another machine than the one that builds them.
#pragma once

namespace mpmm::test {

/// The command to put before programs that the shell starts, and what it adds to stderr when one dies of a signal, as a regular expression.
#ifdef MPMM_TEST_EMULATOR
inline constexpr const char *emulator = MPMM_TEST_EMULATOR, *death_note = "(qemu: uncaught target signal[^\n]*\n)?";
#else
inline constexpr const char *emulator = "", *death_note = "";
#endif

}  // namespace mpmm::test
