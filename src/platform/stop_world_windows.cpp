// SPDX-License-Identifier: Apache-2.0
// Suspends every other thread of the process; the function runs on the caller's thread. The youngest come first: one that has just been made
// may have to be started by its maker before it can be suspended (in Wine). If another was made meanwhile, all go on and are tried again.
#include "platform/hidden.hpp"
#include "platform/lock.hpp"
#include "platform/os_windows.hpp"
#include "platform/stop_world.hpp"

#include <cerrno>
#include <cstring>

namespace mpmm::stop_world {
namespace {

constinit Mutex one_run;

constexpr std::size_t words = sizeof(CONTEXT) / sizeof(std::uintptr_t);

/// Its memory, in pages that read as zero.
struct Tables {
    HANDLE handles[max_threads];
    bool suspended[max_threads];
    Thread threads[max_threads];
    std::uintptr_t registers[max_threads][words];
};

class Stopper {
  public:
    /// `own` is where the calling thread's frames end that are in use while the function runs.
    Stopper(Tables& tables, const CONTEXT& own) : tables_(tables) { set(0, ::GetCurrentThreadId(), own); }
    ~Stopper() { release_all(); }
    Stopper(const Stopper&) = delete;
    Stopper& operator=(const Stopper&) = delete;

    /// Allocates nothing: a suspended thread may hold the lock of the system's heap.
    bool stop_all() {
        constexpr int most_tries = 200;
        for (int tries = 0; tries < most_tries; ++tries) {
            bool good = list([this](HANDLE thread) { return add(thread); });
            for (std::size_t i = count_; good && i-- > 1;) good = stop(i);
            bool fresh = false;
            good = good && list([&](HANDLE thread) {
                       fresh = fresh || (!known(::GetThreadId(thread)) && lives(thread));
                       return Kept::no;
                   });
            if (good && !fresh) return true;
            release_all();
            os::nap();
        }
        return false;
    }
    std::size_t count() const { return count_; }

  private:
    enum class Kept { no, yes, full };

    /// Calls visit(handle) for every thread, oldest first. False when the system does not tell, or there is no room.
    template <class Visit>
    static bool list(Visit visit) {
        constexpr DWORD rights = THREAD_SUSPEND_RESUME | THREAD_GET_CONTEXT | THREAD_QUERY_INFORMATION;
        const auto get_next = os::windows::functions.next_thread.load(relaxed);
        if (get_next == nullptr) return false;
        HANDLE thread = nullptr, next = nullptr;
        Kept kept = Kept::yes;
        while (kept != Kept::full && get_next(::GetCurrentProcess(), thread, rights, 0, 0, &next) >= 0) {
            if (kept == Kept::no) ::CloseHandle(thread);
            thread = next;
            kept = visit(thread);
        }
        if (kept != Kept::yes) ::CloseHandle(thread);
        return kept != Kept::full;
    }
    static bool lives(HANDLE thread) {
        DWORD exit_code = 0;
        return ::GetExitCodeThread(thread, &exit_code) != 0 && exit_code == STILL_ACTIVE;
    }
    bool known(DWORD id) const {
        for (std::size_t i = 0; i < count_; ++i)
            if (static_cast<DWORD>(tables_.threads[i].tid) == id) return true;
        return false;
    }
    Kept add(HANDLE thread) {
        const DWORD id = ::GetThreadId(thread);
        if (id == ::GetCurrentThreadId() || !lives(thread)) return Kept::no;
        if (count_ == max_threads) return Kept::full;
        tables_.threads[count_].tid = static_cast<int>(id);
        tables_.handles[count_++] = thread;
        return Kept::yes;
    }
    /// False when the thread can be neither suspended nor has ended.
    bool stop(std::size_t i) {
        const HANDLE thread = tables_.handles[i];
        alignas(16) CONTEXT context;
        std::memset(&context, 0, sizeof context);
        context.ContextFlags = CONTEXT_FULL;
        tables_.suspended[i] = ::SuspendThread(thread) != static_cast<DWORD>(-1);
        if (!tables_.suspended[i] && lives(thread)) return false;
        // The suspension is complete when the registers were read.
        if (!tables_.suspended[i] || ::GetThreadContext(thread, &context) == 0) context.Rsp = 0;
        set(i, ::GetThreadId(thread), context);
        return true;
    }
    void set(std::size_t i, DWORD id, const CONTEXT& context) {
        std::memcpy(tables_.registers[i], &context, sizeof context);
        tables_.threads[i] = {static_cast<int>(id), context.Rsp, 0, tables_.registers[i], words};
    }
    void release_all() {
        for (; count_ > 1; --count_) {
            if (tables_.suspended[count_ - 1]) ::ResumeThread(tables_.handles[count_ - 1]);
            tables_.suspended[count_ - 1] = false;
            ::CloseHandle(tables_.handles[count_ - 1]);
        }
    }

    Tables& tables_;
    std::size_t count_ = 1;
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
