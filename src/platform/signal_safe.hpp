// SPDX-License-Identifier: Apache-2.0
// Guards for code that runs in the middle of somebody else's: the program must not notice that it was there.
#pragma once

#include <cerrno>
#ifndef _WIN32
#include <pthread.h>
#endif

namespace mpmm {

/// Restores errno: a malloc that succeeds, every free, and every signal handler must not change it.
struct KeepErrno {
    int saved = errno;
    KeepErrno() = default;
    KeepErrno(const KeepErrno&) = delete;
    KeepErrno& operator=(const KeepErrno&) = delete;
    ~KeepErrno() { errno = saved; }
};

/// Postpones pthread_cancel: open, read, poll and their like would otherwise end the thread in the middle of a report, with its locks held.
class NoCancellation {
  public:
#ifdef _WIN32
    // Nothing that is called there ends a thread.
    NoCancellation() = default;
    ~NoCancellation() {}
#else
    NoCancellation() { ::pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before_); }
    ~NoCancellation() { ::pthread_setcancelstate(before_, nullptr); }
#endif
    NoCancellation(const NoCancellation&) = delete;
    NoCancellation& operator=(const NoCancellation&) = delete;

#ifndef _WIN32
  private:
    int before_ = PTHREAD_CANCEL_ENABLE;
#endif
};

}  // namespace mpmm
