// SPDX-License-Identifier: Apache-2.0
// The walk up the stack where there is nothing better: along the chain of frame pointers. Exact where all code keeps them, otherwise it
// skips functions or ends early. Records are {caller's frame pointer, return address}, as on x86, ARM64, RISC-V apart from an offset.
#include "platform/unwind.hpp"

#include "platform/unwind_rule.hpp"

#if !defined(MPMM_UNWIND_BY_TABLES) || defined(MPMM_UNWIND_FRAME_POINTERS)

#include "platform/unwind_stack.hpp"

#if defined(__linux__)
#include <csignal>
#include <ucontext.h>
#endif

namespace mpmm::unwind {
namespace {

constexpr std::uintptr_t word = sizeof(std::uintptr_t);
constexpr std::uintptr_t frame_reach = std::uintptr_t{1} << 20;
/// What the frame pointer lies above the record: RISC-V's points behind it.
#if defined(__riscv)
constexpr std::uintptr_t above_record = 2 * word;
#else
constexpr std::uintptr_t above_record = 0;
#endif

/// Removes a pointer authentication code.
std::uintptr_t plain_code_address(std::uintptr_t address) {
#if defined(__aarch64__)
    register std::uintptr_t x30 asm("x30") = address;
    asm("hint #7" : "+r"(x30));
    return x30;
#else
    return address;
#endif
}

}  // namespace

Registers interrupted([[maybe_unused]] const void* ucontext) {
#if defined(__linux__) && defined(__aarch64__)
    const auto& saved = static_cast<const ucontext_t*>(ucontext)->uc_mcontext;
    return {saved.pc, saved.sp, saved.regs[29]};
#elif defined(__linux__) && defined(__x86_64__)
    const auto& saved = static_cast<const ucontext_t*>(ucontext)->uc_mcontext.gregs;
    return {static_cast<std::uintptr_t>(saved[REG_RIP]), static_cast<std::uintptr_t>(saved[REG_RSP]),
            static_cast<std::uintptr_t>(saved[REG_RBP])};
#elif defined(__linux__) && defined(__i386__)
    const auto& saved = static_cast<const ucontext_t*>(ucontext)->uc_mcontext.gregs;
    return {static_cast<std::uintptr_t>(saved[REG_EIP]), static_cast<std::uintptr_t>(saved[REG_ESP]),
            static_cast<std::uintptr_t>(saved[REG_EBP])};
#else
    return {};
#endif
}

std::size_t capture(const Registers& from, std::uintptr_t* frames, std::uintptr_t* stack_pointers, std::size_t max) {
    StackReader stack(from.sp);
    Registers now = from;
    std::size_t count = 0;
    while (count < max) {
        if (stack_pointers != nullptr) stack_pointers[count] = now.sp;
        frames[count++] = now.pc;
        const std::uintptr_t record = now.fp - above_record;
        if (record % word != 0 || record < now.sp || record - now.sp > frame_reach) break;
        if (!stack.read(record, now.fp) || !stack.read(record + word, now.pc)) break;
        now.pc = plain_code_address(now.pc);
        now.sp = record + 2 * word;
        if (now.pc == 0) break;
    }
    return count;
}

std::size_t capture(const Registers& from, bool, std::uintptr_t* frames, std::size_t max) { return capture(from, frames, nullptr, max); }

void forget() {}

}  // namespace mpmm::unwind

#endif
