// SPDX-License-Identifier: Apache-2.0
// What runs the tests, when they are for another machine than the one that builds them: a command to put before programs that tests start.
#pragma once

namespace mpmm::test {

#ifdef MPMM_TEST_EMULATOR
inline constexpr const char* emulator = MPMM_TEST_EMULATOR;
#else
inline constexpr const char* emulator = "";
#endif

}  // namespace mpmm::test
