// SPDX-License-Identifier: Apache-2.0
// For tests of what happens where Windows lacks a function, or has one that this Windows lacks.
#pragma once

#include "platform/os_windows.hpp"

namespace mpmm::test {

/// Has a function of os::windows::Functions replaced, or away, for a scope.
template <class Function>
class Replaced {
  public:
    Replaced(Atomic<Function>& place, Function by) : place_(place), before_(place.exchange(by)) {}
    ~Replaced() { place_.store(before_); }
    Replaced(const Replaced&) = delete;
    Replaced& operator=(const Replaced&) = delete;

  private:
    Atomic<Function>& place_;
    Function before_;
};

/// As on a Windows without any of the newer functions.
struct OldWindows {
    Replaced<os::windows::VirtualAlloc2> allocate{os::windows::functions.allocate, nullptr};
    Replaced<os::windows::DiscardVirtualMemory> discard{os::windows::functions.discard, nullptr};
    Replaced<os::windows::WaitOnAddress> wait{os::windows::functions.wait, nullptr};
    Replaced<os::windows::WakeByAddressSingle> wake{os::windows::functions.wake, nullptr};
};

}  // namespace mpmm::test
