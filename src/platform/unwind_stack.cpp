// SPDX-License-Identifier: Apache-2.0
// Which pages of the stack can be read; see unwind_stack.hpp.
#include "platform/unwind_stack.hpp"

#include "platform/atomics.hpp"
#include "platform/bits.hpp"
#include "platform/os.hpp"

#if defined(__linux__)
#include <cerrno>
#include <csignal>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace mpmm::unwind {
namespace {

/// What is asked for at once. Where pages are larger, some questions are superfluous.
constexpr std::uintptr_t page = 4096;
/// How far at most the kernel is asked for consecutive pages.
constexpr std::uintptr_t reach = std::uintptr_t{1} << 20;
constexpr unsigned max_tries = 8;

/// The mapped part of the thread's own stack: [low, high), growing downwards; nothing below `floor` can be read. A signal handler of the
/// thread may come in between, so that each store leaves a range that is true: relaxed but for `low`, behind which the compiler must not move
/// the store of `high`.
struct Own {
    Atomic<std::uintptr_t> low{~std::uintptr_t{0}}, high{0}, floor{0};
    Atomic<unsigned> tries{0};
};
[[gnu::tls_model("initial-exec")]] constinit thread_local Own own;

#if defined(__linux__)

bool page_readable(std::uintptr_t address) {
    return address != 0 && os::is_readable(reinterpret_cast<const void*>(address), sizeof address);
}

/// An address at the top of the thread's own stack, 0 when none is known above `sp`. The system puts the random bytes for the program above
/// the main thread's frames, and the C library puts thread-local variables above those of other threads.
std::uintptr_t top_above(std::uintptr_t sp) {
    const int saved = errno;
    const std::uintptr_t main_top = ::getauxval(AT_RANDOM), thread_top = reinterpret_cast<std::uintptr_t>(&own);
    const bool near_main = main_top - sp < reach, near_thread = thread_top - sp < reach;
    const bool is_main = (near_main || near_thread) && ::syscall(SYS_gettid) == ::getpid();
    errno = saved;
    if (is_main || !near_thread) return is_main && near_main ? main_top : 0;
    return thread_top;
}

#else

// Without a question to ask, only frames between here and the end of the page can be trusted.
bool page_readable(std::uintptr_t) { return false; }
std::uintptr_t top_above(std::uintptr_t) { return 0; }

#endif

}  // namespace

StackReader::StackReader(std::uintptr_t sp) {
    // high is stored before low, so a range that contains sp is whole.
    const std::uintptr_t low = own.low.load(relaxed), high = own.high.load(relaxed);
    if (low <= sp && sp < high) aim(low, high);
}

bool StackReader::readable(std::uintptr_t address, std::size_t size) {
    if (address + size < address) return false;
    for (std::uintptr_t at = align_down(address, page); at < address + size; at += page)
        if (!page_readable(at)) return false;
    return true;
}

bool StackReader::extend(std::uintptr_t address) {
    const std::uintptr_t last = address + sizeof(std::uintptr_t) - 1;
    if (address < page || last < address) return false;
    const std::uintptr_t first_page = align_down(address, page), end = align_down(last, page) + page;
    if (extend_own(first_page) && end <= own.high.load(relaxed)) {
        aim(own.low.load(relaxed), own.high.load(relaxed));
        return true;
    }
    if (span_ != 0 && first_page <= high() && low_ <= first_page) {
        // The next page upwards: the usual case.
        if (!readable(high(), end - high())) return false;
        aim(low_, end);
        return true;
    }
    if (!readable(first_page, end - first_page)) return false;
    aim(first_page, end);
    return true;
}

/// Makes the own stack's range include a page when the page is part of that stack.
bool StackReader::extend_own(std::uintptr_t first_page) {
    const std::uintptr_t low = own.low.load(relaxed), high = own.high.load(relaxed);
    if (high == 0) {
        if (own.tries.load(relaxed) == max_tries) return false;
        const std::uintptr_t top = top_above(first_page);
        if (top == 0) return false;
        own.tries.store(own.tries.load(relaxed) + 1, relaxed);
        if (!readable(first_page, top - first_page)) return false;
        own.high.store(align_up(top, page), relaxed);
        own.low.store(first_page, release);
        return true;
    }
    if (first_page >= low) return first_page < high;
    if (low - first_page > reach || first_page < own.floor.load(relaxed)) return false;
    for (std::uintptr_t at = low - page; at >= first_page; at -= page) {
        if (!page_readable(at)) {
            own.floor.store(at + page, relaxed);
            return false;
        }
        own.low.store(at, relaxed);
    }
    return true;
}

}  // namespace mpmm::unwind
