// SPDX-License-Identifier: Apache-2.0
// Call stacks by the unwind tables that every function on x86-64 Windows has. A step needs all registers that functions keep, so a walk begins
// here, or at the code that a fault interrupted, and lists what it finds from the wanted frame on.
#include "platform/unwind.hpp"

#include "platform/os_windows.hpp"
#include "platform/thread_pointer.hpp"

namespace mpmm::unwind {
namespace {

/// What the thread's fault handler was called with.
using Interrupted = ThreadPointer<const CONTEXT>;

/// One frame up. False at the end, or where the stack makes no sense.
bool step(CONTEXT& context) {
    const auto* const block = reinterpret_cast<const NT_TIB*>(::NtCurrentTeb());
    const auto lowest = reinterpret_cast<DWORD64>(block->StackLimit), highest = reinterpret_cast<DWORD64>(block->StackBase);
    const DWORD64 before = context.Rsp;
    if (before < lowest || before > highest - sizeof(DWORD64)) return false;
    DWORD64 image = 0;
    if (auto* const function = ::RtlLookupFunctionEntry(context.Rip, &image, nullptr); function != nullptr) {
        void* data = nullptr;
        DWORD64 frame = 0;
        ::RtlVirtualUnwind(UNW_FLAG_NHANDLER, image, context.Rip, function, &context, &data, &frame, nullptr);
    } else {
        // A function without an entry calls nobody and saves nothing; or there is no function.
        context.Rip = *reinterpret_cast<const DWORD64*>(before);
        context.Rsp = before + sizeof(DWORD64);
    }
    return context.Rip != 0 && context.Rsp > before && context.Rsp <= highest;
}

}  // namespace

Registers interrupted(const void* ucontext) {
    const auto* const context = static_cast<const CONTEXT*>(ucontext);
    Interrupted::value = context;
    return {context->Rip, context->Rsp, context->Rbp};
}

std::size_t capture(const Registers& from, std::uintptr_t* frames, std::uintptr_t* stack_pointers, std::size_t max) {
    CONTEXT context;
    ::RtlCaptureContext(&context);
    const CONTEXT* const fault = Interrupted::value;
    if (fault != nullptr && fault->Rsp == from.sp && fault->Rip == from.pc) context = *fault;
    std::size_t count = 0;
    if (max == 0) return 0;
    // Stacks grow down: what is below `from` called it not.
    while (context.Rsp < from.sp)
        if (!step(context)) break;
    // Where the tables lead elsewhere, its own place is all that is known.
    if (context.Rsp != from.sp) {
        frames[0] = from.pc;
        if (stack_pointers != nullptr) stack_pointers[0] = from.sp;
        return 1;
    }
    do {
        frames[count] = count == 0 ? from.pc : context.Rip;
        if (stack_pointers != nullptr) stack_pointers[count] = context.Rsp;
    } while (++count < max && step(context));
    return count;
}

std::size_t capture(const Registers& from, bool, std::uintptr_t* frames, std::size_t max) { return capture(from, frames, nullptr, max); }

/// There is no fuller way.
bool prepare_full() { return true; }
std::size_t capture_full(const Registers& from, bool, std::uintptr_t* frames, std::size_t max) {
    return capture(from, frames, nullptr, max);
}

/// Nothing is remembered here.
void forget() {}

}  // namespace mpmm::unwind
