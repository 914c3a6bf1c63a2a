// SPDX-License-Identifier: Apache-2.0
// Suspends every other thread of the process; the function runs on the caller's thread. A thread may be created by one that is not suspended
// yet, so the list is read until nothing new is in it.
#include "platform/hidden.hpp"
#include "platform/lock.hpp"
#include "platform/os_windows.hpp"
#include "platform/stop_world.hpp"

#include <cerrno>
#include <cstring>
// after windows.h
#include <tlhelp32.h>

namespace mpmm::stop_world {
namespace {

constinit Mutex one_run;

constexpr std::size_t words = sizeof(CONTEXT) / sizeof(std::uintptr_t);

/// Its memory, in pages that read as zero.
struct Tables {
    HANDLE handles[max_threads];
    Thread threads[max_threads];
    std::uintptr_t registers[max_threads][words];
};

class Stopper {
  public:
    /// `own` is where the calling thread's frames end that are in use while the function runs.
    Stopper(Tables& tables, const CONTEXT& own) : tables_(tables) { add(::GetCurrentThreadId(), nullptr, own); }
    ~Stopper() {
        for (std::size_t i = 0; i < count_; ++i) {
            if (tables_.handles[i] == nullptr) continue;
            ::ResumeThread(tables_.handles[i]);
            ::CloseHandle(tables_.handles[i]);
        }
    }
    Stopper(const Stopper&) = delete;
    Stopper& operator=(const Stopper&) = delete;

    bool stop_all() {
        for (std::size_t before = 0; before != count_;) {
            before = count_;
            if (!stop_new()) return false;
        }
        return true;
    }
    std::size_t count() const { return count_; }

  private:
    bool known(DWORD id) const {
        for (std::size_t i = 0; i < count_; ++i)
            if (static_cast<DWORD>(tables_.threads[i].tid) == id) return true;
        return false;
    }
    void add(DWORD id, HANDLE handle, const CONTEXT& context) {
        tables_.handles[count_] = handle;
        std::memcpy(tables_.registers[count_], &context, sizeof context);
        tables_.threads[count_] = {static_cast<int>(id), context.Rsp, 0, tables_.registers[count_], words};
        ++count_;
    }
    /// False when a thread can be neither suspended nor has ended.
    bool stop_new() {
        const HANDLE list = ::CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0);
        if (list == INVALID_HANDLE_VALUE) return false;
        bool good = true;
        THREADENTRY32 entry{};
        entry.dwSize = sizeof entry;
        for (BOOL more = ::Thread32First(list, &entry); good && more != 0; more = ::Thread32Next(list, &entry)) {
            if (entry.th32OwnerProcessID != ::GetCurrentProcessId() || known(entry.th32ThreadID)) continue;
            const HANDLE thread =
                ::OpenThread(THREAD_SUSPEND_RESUME | THREAD_GET_CONTEXT | THREAD_QUERY_INFORMATION, FALSE, entry.th32ThreadID);
            if (thread == nullptr) continue;  // ended meanwhile
            DWORD exit_code = 0;
            if (count_ < max_threads && ::SuspendThread(thread) != static_cast<DWORD>(-1)) {
                alignas(16) CONTEXT context;
                std::memset(&context, 0, sizeof context);
                context.ContextFlags = CONTEXT_FULL;
                // The suspension is complete when the registers were read.
                if (::GetThreadContext(thread, &context) == 0) context.Rsp = 0;
                add(entry.th32ThreadID, thread, context);
            } else {
                good = ::GetExitCodeThread(thread, &exit_code) != 0 && exit_code != STILL_ACTIVE;
                ::CloseHandle(thread);
            }
        }
        ::CloseHandle(list);
        return good;
    }

    Tables& tables_;
    std::size_t count_ = 0;
};

}  // namespace

Result run(void (*callback)(void* context, const World& world), void* context) {
    const int saved = errno;
    Result result = Result::not_stopped;
    alignas(16) CONTEXT own;
    ::RtlCaptureContext(&own);
    {
        const Guard guard(one_run);
        hidden::Memory memory(sizeof(Tables));
        if (memory.size() != 0) {
            Stopper stopper(*memory.as<Tables>(), own);
            if (stopper.stop_all()) {
                result = Result::stopped;
                callback(context, {result, memory.as<Tables>()->threads, stopper.count()});
            }
        }
        if (result != Result::stopped) {
            const Thread self{os::thread_id(), own.Rsp, 0, reinterpret_cast<const std::uintptr_t*>(&own), words};
            callback(context, {result, &self, 1});
        }
    }
    errno = saved;
    return result;
}

void reset_after_fork() {}

}  // namespace mpmm::stop_world
