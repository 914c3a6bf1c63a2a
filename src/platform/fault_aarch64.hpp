// SPDX-License-Identifier: Apache-2.0
// What an access was that faulted, on AArch64. Linux puts the syndrome register beside the saved registers; where that is missing, as under
// emulators, the instruction tells.
#pragma once

#include "platform/fault.hpp"

#include <csignal>
#include <cstdint>
#include <cstring>
#include <ucontext.h>

namespace mpmm::fault {

/// Whether a load-or-store instruction stores, by the encodings of the Arm Architecture Reference Manual, C4.1 "Loads and Stores". What reads
/// and writes at once counts as a store.
constexpr bool stores(std::uint32_t instruction) {
    const auto bits = [&](unsigned high, unsigned low) { return instruction >> low & ((1u << (high - low + 1)) - 1); };
    const bool load = bits(22, 22) != 0;
    if ((instruction & ~0x1Fu) == 0xD50B7420) return true;    // DC ZVA, with which memset zeroes
    if ((bits(29, 24) & 0b111110) == 0b001100) return !load;  // several structures
    if (bits(29, 24) == 0b001000)                             // exclusive and ordered; compare and swap
        return !load || (bits(21, 21) != 0 && (bits(23, 23) != 0 || bits(31, 31) == 0));
    if ((bits(29, 24) & 0b111010) == 0b101000) return !load;  // pairs
    if ((bits(29, 24) & 0b111010) != 0b111000) return false;  // literals, and what is neither load nor store
    const bool vector = bits(26, 26) != 0;
    if (!vector && bits(25, 24) == 0 && bits(21, 21) != 0 && bits(11, 10) == 0) return true;  // atomic
    // Quadwords of vector registers use the other half of the field that tells sign-extending loads.
    return bits(23, 22) == 0 || (vector && bits(31, 30) == 0 && bits(23, 22) == 0b10);
}

inline Access access_on_aarch64(const siginfo_t& info, const ucontext_t& context) {
    const mcontext_t& saved = context.uc_mcontext;
    for (const unsigned char *at = saved.__reserved, *const end = at + sizeof saved.__reserved; at + sizeof(esr_context) <= end;) {
        _aarch64_ctx head;
        std::memcpy(&head, at, sizeof head);
        if (head.magic == ESR_MAGIC) {
            esr_context record;
            std::memcpy(&record, at, sizeof record);
            const std::uint64_t kind = record.esr >> 26;
            // An instruction abort, from this level or a lower one.
            if (kind == 0x20 || kind == 0x21) return Access::execute;
            return (record.esr & 1u << 6) != 0 ? Access::write : Access::read;
        }
        if (head.magic == 0 || head.size < sizeof head) break;
        at += head.size;
    }
    if (reinterpret_cast<std::uintptr_t>(info.si_addr) == saved.pc) return Access::execute;
    std::uint32_t instruction;
    std::memcpy(&instruction, reinterpret_cast<const void*>(saved.pc), sizeof instruction);
    return stores(instruction) ? Access::write : Access::read;
}

}  // namespace mpmm::fault
