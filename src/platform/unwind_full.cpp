// SPDX-License-Identifier: Apache-2.0
// The careful way: libgcc's unwinder, loaded at run time, because the library itself needs no C++ runtime.
#include "platform/unwind.hpp"

#include "platform/atomics.hpp"

#if defined(__unix__)
#include <cerrno>
#include <dlfcn.h>
#endif

namespace mpmm::unwind {

#if defined(__unix__)

namespace {

struct _Context;
using Context = _Context;
using Backtrace = int (*)(int (*each)(Context*, void*), void*);
using Get = std::uintptr_t (*)(Context*);

// Weak, so that static linking neither pulls in the loader nor warns about it.
extern "C" {
void* weak_dlopen(const char* name, int mode) __asm__("dlopen") __attribute__((weak));
void* weak_dlsym(void* handle, const char* name) __asm__("dlsym") __attribute__((weak));
}

constinit Atomic<Backtrace> backtrace{nullptr};
constinit Get get_pc = nullptr, get_cfa = nullptr;

constexpr int go_on = 0, stop = 4;  // _URC_NO_REASON, _URC_NORMAL_STOP

struct Listing {
    Registers from;
    std::uintptr_t* frames;
    std::size_t max, count;
};

int each(Context* context, void* argument) {
    auto& listing = *static_cast<Listing*>(argument);
    const std::uintptr_t pc = get_pc(context);
    // The frames of this unwinder and of its callers come first. A frame's stack pointer is the CFA of the frame it called.
    if (listing.count == 0 && (pc != listing.from.pc || get_cfa(context) != listing.from.sp)) return go_on;
    if (pc == 0) return stop;
    listing.frames[listing.count++] = pc;
    return listing.count == listing.max ? stop : go_on;
}

int first_only(Context*, void*) { return stop; }

}  // namespace

bool prepare_full() {
    if (backtrace.load(relaxed) != nullptr) return true;
    if (weak_dlopen == nullptr || weak_dlsym == nullptr) return false;
    void* const library = weak_dlopen("libgcc_s.so.1", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return false;
    const auto found = reinterpret_cast<Backtrace>(weak_dlsym(library, "_Unwind_Backtrace"));
    get_pc = reinterpret_cast<Get>(weak_dlsym(library, "_Unwind_GetIP"));
    get_cfa = reinterpret_cast<Get>(weak_dlsym(library, "_Unwind_GetCFA"));
    if (found == nullptr || get_pc == nullptr || get_cfa == nullptr) return false;
    // The first call initialises tables once for all.
    found(first_only, nullptr);
    // release: who sees the unwinder sees the other two.
    backtrace.store(found, release);
    return true;
}

std::size_t capture_full(const Registers& from, bool exact_pc, std::uintptr_t* frames, std::size_t max) {
    const Backtrace run = backtrace.load(acquire);
    if (run == nullptr || max == 0) return capture(from, exact_pc, frames, max);
    Listing listing{from, frames, max, 0};
    const int saved = errno;
    run(each, &listing);
    errno = saved;
    return listing.count != 0 ? listing.count : capture(from, exact_pc, frames, max);
}

#else

bool prepare_full() { return false; }
std::size_t capture_full(const Registers& from, bool exact_pc, std::uintptr_t* frames, std::size_t max) {
    return capture(from, exact_pc, frames, max);
}

#endif

}  // namespace mpmm::unwind
