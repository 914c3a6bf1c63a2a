// SPDX-License-Identifier: Apache-2.0
#include "harness/test_clock.hpp"

#include <time.h>

namespace {

constinit std::uint64_t now_ms = mpmm::fuzz::first_ms;

}  // namespace

extern "C" {

int __real_clock_gettime(clockid_t clock, timespec* now);

int __wrap_clock_gettime(clockid_t clock, timespec* now) {
    if (clock != CLOCK_MONOTONIC_COARSE) return __real_clock_gettime(clock, now);
    now->tv_sec = static_cast<time_t>(now_ms / 1000);
    now->tv_nsec = static_cast<long>(now_ms % 1000) * 1'000'000;
    return 0;
}

}  // extern "C"

namespace mpmm::fuzz {

void set_clock(std::uint64_t milliseconds) { now_ms = milliseconds; }
void advance_clock(std::uint64_t milliseconds) { now_ms += milliseconds; }

}  // namespace mpmm::fuzz
