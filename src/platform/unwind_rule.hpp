// SPDX-License-Identifier: Apache-2.0
// How to get from one frame to its caller on x86: the part of an unwind table's row that concerns the instruction pointer, the stack
// pointer and the frame pointer rbp, and its form for the cache, the two ends of a 64-bit word:
//
//      63          49 48         10 9         3 2    0
//     | CFA offset/8 | the cache's | rbp at/8  | kind |      rbp at: below the CFA; 0 when the caller's rbp is still in the register
//
// With 32-bit pointers, stack slots are 4 bytes and distances are counted in those; what is said of rbp and rsp goes for ebp and esp.
//
// The CFA (canonical frame address) is the caller's stack pointer; the return address lies below it. A walk waits for the CFA, so that its
// offset takes one shift and a scaled address; a mask alone yields rbp's.
#pragma once

#include <cstdint>

#if (defined(__x86_64__) || defined(__i386__)) && defined(__ELF__)
#define MPMM_UNWIND_BY_TABLES 1
#endif

namespace mpmm::unwind {

/// A stack slot, and the numbers that unwind tables have for registers.
struct Machine {
    static constexpr std::int64_t slot = sizeof(void*);
    static constexpr std::uint8_t fp = slot == 8 ? 6 : 5, sp = slot == 8 ? 7 : 4, back = slot == 8 ? 16 : 8;
};

enum class Kind : std::uint32_t {
    sp = 0,           // CFA = rsp + offset
    fp = 1,           // CFA = rbp + offset
    fp_indirect = 2,  // CFA = *(rbp + offset): functions that align their stack
    signal = 3,       // the return address is the system's return from a signal handler
    end = 4,          // nobody called: a thread's or the program's start
    unknown = 5,      // no table, or one that needs other registers
};

struct Row {
    enum class Saved : std::uint8_t { in_register, below_cfa, at_fp, lost };

    Kind kind = Kind::unknown;
    Saved saved = Saved::in_register;  // where the caller's rbp is: at CFA + saved_offset, at rbp + saved_offset
    bool lasting = true;               // false: code may appear here without anybody being told
    std::int64_t cfa_offset = 0, saved_offset = 0;
};

struct Packed {
    static constexpr std::int64_t slot = Machine::slot;
    static constexpr unsigned low_bits = 10, high_bits = 15;
    static constexpr std::uint64_t not_packed = std::uint64_t{1} << low_bits;

    static constexpr Kind kind(std::uint64_t word) { return static_cast<Kind>(word & 7); }
    static constexpr bool from_register(std::uint64_t word) { return (word & 6) == 0; }
    /// Of those.
    static constexpr bool by_fp(std::uint64_t word) { return (word & 1) != 0; }
    static constexpr std::uintptr_t cfa_offset(std::uint64_t word) { return static_cast<std::uintptr_t>(word >> (64 - high_bits)) * slot; }
    static constexpr std::uintptr_t saved_below(std::uint64_t word) { return static_cast<std::uintptr_t>(word & 0x3F8) / (8 / slot); }

    /// not_packed for rows too unusual: offsets of 32768 slots or rbp far from the CFA.
    static constexpr std::uint64_t pack(const Row& row) {
        const auto kind = static_cast<std::uint64_t>(row.kind);
        if (!row.lasting) return not_packed;
        switch (row.kind) {
            case Kind::sp:
            case Kind::fp: {
                if (row.cfa_offset < 0 || row.cfa_offset > 0x7FFF * slot || row.cfa_offset % slot != 0) return not_packed;
                const auto cfa = static_cast<std::uint64_t>(row.cfa_offset / slot) << (64 - high_bits);
                if (row.saved == Row::Saved::in_register) return cfa | kind;
                if (row.saved != Row::Saved::below_cfa || row.saved_offset >= 0 || row.saved_offset < -0x7F * slot ||
                    row.saved_offset % slot != 0)
                    return not_packed;
                return cfa | static_cast<std::uint64_t>(-row.saved_offset * (8 / slot)) | kind;
            }
            case Kind::fp_indirect:
                if (row.cfa_offset > 0 || row.cfa_offset < -0x7FFF * slot || row.cfa_offset % slot != 0) return not_packed;
                if (row.saved != Row::Saved::at_fp || row.saved_offset != 0) return not_packed;
                return static_cast<std::uint64_t>(-row.cfa_offset / slot) << (64 - high_bits) | kind;
            case Kind::signal:
            case Kind::end:
            case Kind::unknown: return kind;
        }
        return not_packed;
    }
    static constexpr Row unpack(std::uint64_t word) {
        Row row;
        row.kind = kind(word);
        row.cfa_offset = static_cast<std::int64_t>(cfa_offset(word));
        if (row.kind == Kind::fp_indirect) {
            row.cfa_offset = -row.cfa_offset;
            row.saved = Row::Saved::at_fp;
        } else if (saved_below(word) != 0) {
            row.saved = Row::Saved::below_cfa;
            row.saved_offset = -static_cast<std::int64_t>(saved_below(word));
        }
        return row;
    }
};

/// The call frame instructions of one function, as found in .eh_frame.
struct Program {
    std::uintptr_t common, common_end;  // those of the CIE, which come first
    std::uintptr_t own, own_end;        // those of the FDE
    std::uintptr_t start;               // the function's first address
    std::uint64_t code_factor = 1;
    std::int64_t data_factor = 1;
    std::uint8_t encoding = 0;  // of pointers to code
    bool signal_frame = false;
};

/// Runs the instructions up to the code address `at`.
Row run(const Program& program, std::uintptr_t at);

/// The row for the instruction at `at`, from the unwind tables of the object it lies in.
Row find_row(std::uintptr_t at);

}  // namespace mpmm::unwind
