// SPDX-License-Identifier: Apache-2.0
// What only the files for Windows know: the system's header, and what newer systems have and older ones lack. Tests take single functions
// away to be where they are missing.
#pragma once

#include "platform/os.hpp"

#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#ifndef NOMINMAX
#define NOMINMAX
#endif
#include <windows.h>

namespace mpmm::os {

/// `size` bytes as map() gives them, aligned to a power of two; in large pages when `large`, where the process may have them and they fit.
void* map_aligned(std::size_t size, std::size_t alignment, bool large);

namespace windows {

using VirtualAlloc2 = void*(WINAPI*)(HANDLE process, void* address, SIZE_T size, ULONG type, ULONG protection, void* parameters,
                                     ULONG count);
using DiscardVirtualMemory = DWORD(WINAPI*)(void* address, SIZE_T size);
using WaitOnAddress = BOOL(WINAPI*)(volatile void* address, void* unwanted, SIZE_T size, DWORD milliseconds);
using MemoryStatus = BOOL(WINAPI*)(MEMORYSTATUSEX* status);
using WakeByAddressSingle = void(WINAPI*)(void* address);

using QueryThread = LONG(WINAPI*)(HANDLE thread, int what, void* answer, ULONG size, ULONG* length);
using NextThread = LONG(WINAPI*)(HANDLE process, HANDLE thread, DWORD access, ULONG attributes, ULONG flags, HANDLE* next);
using QueryMemory = LONG(WINAPI*)(HANDLE process, const void* address, int what, void* answer, SIZE_T size, SIZE_T* length);

/// Null where the system lacks it, and before they are looked up, which is when this module is initialised.
struct Functions {
    Atomic<VirtualAlloc2> allocate{nullptr};        ///< Windows 10 1803
    Atomic<DiscardVirtualMemory> discard{nullptr};  ///< Windows 8.1
    Atomic<WaitOnAddress> wait{nullptr};            ///< Windows 8, with the next
    Atomic<WakeByAddressSingle> wake{nullptr};
    /// ntdll's: documented functions for the same allocate, or take locks that a stopped thread may hold.
    Atomic<QueryThread> query_thread{nullptr};
    Atomic<NextThread> next_thread{nullptr};
    Atomic<QueryMemory> query_memory{nullptr};
    Atomic<MemoryStatus> memory_status{nullptr};  ///< everywhere; a test says that memory is short
};
extern Functions functions;

/// What a program asks GetLastError() must not change by a free in between.
class KeepError {
  public:
    KeepError() = default;
    KeepError(const KeepError&) = delete;
    KeepError& operator=(const KeepError&) = delete;
    ~KeepError() { ::SetLastError(saved_); }

  private:
    DWORD saved_ = ::GetLastError();
};

}  // namespace windows
}  // namespace mpmm::os
