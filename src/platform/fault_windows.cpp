// SPDX-License-Identifier: Apache-2.0
// Access violations reach our handler before those of frames. What is not ours goes on as if it were not there.
#include "platform/fault.hpp"

#include "platform/os_windows.hpp"

namespace mpmm::fault {
namespace {

constinit Atomic<Handler> ours{nullptr};

Access access_of(ULONG_PTR kind) { return kind == 8 ? Access::execute : kind == 1 ? Access::write : Access::read; }

LONG CALLBACK handle(EXCEPTION_POINTERS* exception) {
    const EXCEPTION_RECORD& record = *exception->ExceptionRecord;
    if (record.ExceptionCode != EXCEPTION_ACCESS_VIOLATION || record.NumberParameters < 2) return EXCEPTION_CONTINUE_SEARCH;
    const DWORD error = ::GetLastError();
    const bool done = ours.load(acquire)(reinterpret_cast<const void*>(record.ExceptionInformation[1]),
                                         access_of(record.ExceptionInformation[0]), exception->ContextRecord);
    ::SetLastError(error);
    return done ? EXCEPTION_CONTINUE_EXECUTION : EXCEPTION_CONTINUE_SEARCH;
}

/// Our code may be unloaded, the system's list of handlers stays.
struct Installed {
    void* handle = nullptr;
    ~Installed() {
        if (handle != nullptr) ::RemoveVectoredExceptionHandler(handle);
    }
} installed;

}  // namespace

void install(Handler handler) {
    if (ours.exchange(handler, acq_rel) == nullptr) installed.handle = ::AddVectoredExceptionHandler(1, &handle);
}

void reset_after_fork() {}

}  // namespace mpmm::fault
