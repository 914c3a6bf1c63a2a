// SPDX-License-Identifier: Apache-2.0
// Call stacks: the return addresses of whoever called, fast enough to be taken at every malloc and free.
//
// On x86-64 with ELF the unwind tables of the program are followed, so code without frame pointers is listed exactly; what a table says
// about a return address is remembered in one 64-bit word (unwind_x86_64.cpp). Elsewhere frame pointers are followed
// (unwind_frame_pointer.cpp). Nothing here allocates or faults, errno is kept, and except for prepare_full() and capture_full() all may be
// called in signal handlers.
#pragma once

#include "platform/compiler.hpp"

#include <cstddef>
#include <cstdint>

namespace mpmm::unwind {

/// Where unwinding begins: `pc` of the first frame to be listed, and what the stack pointer and the frame pointer are in that frame.
struct Registers {
    std::uintptr_t pc = 0, sp = 0, fp = 0;
};

/// Of the function that calls the current one, which asking for the frame address makes the compiler build with a frame pointer.
MPMM_INLINED Registers caller() {
#ifdef MPMM_MSVC
    return {reinterpret_cast<std::uintptr_t>(_ReturnAddress()), reinterpret_cast<std::uintptr_t>(_AddressOfReturnAddress()) + 8, 0};
#elif defined(_WIN32)
    // Functions keep no frame pointer there.
    return {reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)), reinterpret_cast<std::uintptr_t>(__builtin_dwarf_cfa()), 0};
#else
    const auto* const frame = static_cast<const std::uintptr_t*>(__builtin_frame_address(0));
    return {reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)), reinterpret_cast<std::uintptr_t>(frame + 2), frame[0]};
#endif
}

/// Of the code that a signal interrupted; `ucontext` is the third argument of its handler. All zero on machines not known.
Registers interrupted(const void* ucontext);

/// Fills `frames` with at most `max` addresses and returns how many: first from.pc, then the return addresses up to the thread's or
/// program's start. `exact_pc` says that from.pc is the next instruction of interrupted code instead of a return address. After a signal
/// frame, the address of interrupted code is listed as it is, as _Unwind_Backtrace does.
///
/// Where the C library has no _dl_find_object (glibc before 2.35, musl), an address seen for the first time takes the dynamic linker's
/// lock: then not in signal handlers, and not under a lock that is taken inside of malloc.
std::size_t capture(const Registers& from, bool exact_pc, std::uintptr_t* frames, std::size_t max);

/// The same, with the stack pointer in each frame.
std::size_t capture(const Registers& from, std::uintptr_t* frames, std::uintptr_t* stack_pointers, std::size_t max);

/// Loads libgcc's unwinder for capture_full(). Allocates; call it once, at start-up and outside of malloc. False when there is none.
bool prepare_full();
/// Like capture(), with libgcc's unwinder, which knows all registers and code registered at run time, and takes some 0.2 microseconds a
/// frame. It believes what it finds on the stack: a broken stack can make it fault. Without prepare_full(), or when it
/// does not arrive at `from`, it is capture(). The current thread's own stack only, and `from` must be a frame that is still active.
std::size_t capture_full(const Registers& from, bool exact_pc, std::uintptr_t* frames, std::size_t max);

/// Forgets what is remembered about code. To be called after code went away (dlclose) and before other code can be in its place.
void forget();

}  // namespace mpmm::unwind
