// SPDX-License-Identifier: Apache-2.0
// The walk up the stack on x86-64, and i386, by the program's unwind tables.
//
// What a table says about a code address is one word of 64 bits in a two-way cache:
//
//      63        49 48                                43 42        10 9         0
//     | rule: CFA  | generation                        | address    | rule: rest |
//
// The set is bits 4 to 17 of the address xor bits 18 to 31; the word has the 33 other bits. That way a set is found with few dependent
// instructions, which is what a step up the stack costs.
// Address and rule are read and written at once, so no reader sees a mixture, without locks, from any thread and in signal handlers. A word of
// another generation is not there: forget() needs to write one word only. The zero-initialised table costs the pages that are used.
#include "platform/unwind.hpp"

#include "platform/unwind_rule.hpp"

#if defined(MPMM_UNWIND_BY_TABLES) && !defined(MPMM_UNWIND_FRAME_POINTERS)

#include "platform/atomics.hpp"
#include "platform/bits.hpp"
#include "platform/unwind_signal32.hpp"
#include "platform/unwind_stack.hpp"

#include <csignal>
#include <cstddef>
#include <ucontext.h>

namespace mpmm::unwind {
namespace {

constexpr unsigned set_bits = 14, below_set_bits = 4, address_bits = Machine::slot == 8 ? 47 : 32, generation_bits = 6;
constexpr unsigned tag_bits = address_bits - set_bits, above_set = set_bits + below_set_bits;
constexpr std::uint64_t generations = (std::uint64_t{1} << generation_bits) - 1;  // 1 to 63; 0 is the empty word's
static_assert(tag_bits + generation_bits + Packed::low_bits + Packed::high_bits <= 64);
constexpr std::uintptr_t slot = Machine::slot;

struct alignas(1u << below_set_bits) Set {
    Atomic<std::uint64_t> first, second;
};
alignas(64) constinit Set sets[std::size_t{1} << set_bits]{};
constinit Atomic<std::uint64_t> forgotten{0};  // how often

std::uint64_t current_generation() { return 1 + forgotten.load(relaxed) % generations; }

[[gnu::always_inline]] inline Set& set_of(std::uintptr_t at) {
    constexpr std::uintptr_t mask = sizeof sets - sizeof(Set);
    return *reinterpret_cast<Set*>(reinterpret_cast<char*>(sets) + ((at ^ at >> set_bits) & mask));
}
/// What a word about `at` has in its middle.
std::uint64_t middle_of(std::uintptr_t at, std::uint64_t generation) {
    constexpr std::uintptr_t low = (std::uintptr_t{1} << below_set_bits) - 1;
    return (generation << tag_bits | at >> above_set << below_set_bits | (at & low)) << Packed::low_bits;
}
bool has_middle(std::uint64_t word, std::uint64_t middle) {
    return (word ^ middle) << Packed::high_bits >> (Packed::high_bits + Packed::low_bits) == 0;
}
bool cacheable(std::uintptr_t at) { return std::uint64_t{at} >> address_bits == 0; }

/// The word about `at`, or 0.
[[gnu::always_inline]] inline std::uint64_t cached(std::uintptr_t at, std::uint64_t generation) {
    const Set& set = set_of(at);
    const std::uint64_t middle = middle_of(at, generation);
    std::uint64_t word = set.first.load(relaxed);
    if (has_middle(word, middle) && cacheable(at)) [[likely]]
        return word;
    word = set.second.load(relaxed);
    return has_middle(word, middle) && cacheable(at) ? word : 0;
}

[[gnu::noinline]] Row look_up(std::uintptr_t at, std::uint64_t generation) {
    const Row row = find_row(at);
    const std::uint64_t packed = Packed::pack(row);
    if (packed != Packed::not_packed && cacheable(at)) {
        Set& set = set_of(at);
        set.second.store(set.first.load(relaxed), relaxed);
        set.first.store(middle_of(at, generation) | packed, relaxed);
    }
    return row;
}

/// Whether a call ends right before `address`: e8 and a distance, or ff /2 with an operand.
bool follows_call(std::uintptr_t address) {
    if (address < 8 || !StackReader::readable(address - 8, 8)) return false;
    std::uint64_t code = 0;
    for (unsigned at = 0; at < 8; at += slot) code |= std::uint64_t{StackReader::load(address - 8 + at)} << at * 8;
    const auto byte_before = [&](unsigned distance) { return code >> (8 - distance) * 8 & 0xFF; };
    if (byte_before(5) == 0xE8) return true;
    for (unsigned length = 2; length <= 7; ++length)
        if (byte_before(length) == 0xFF && (byte_before(length - 1) >> 3 & 7) == 2) return true;
    return false;
}

class Walk {
  public:
    Walk(const Registers& from, bool exact) : now_(from), exact_(exact), generation_(current_generation()), stack_(from.sp) {}

    [[gnu::always_inline]] std::size_t run(std::uintptr_t* frames, std::size_t max, std::uintptr_t* stack_pointers = nullptr) {
        // In registers: now_ would be in memory, on the way from each frame to the next.
        auto [pc, sp, fp] = now_;
        std::uintptr_t before = exact_ ? 0 : 1;
        std::size_t count = 0;
        while (count < max) {
            if (stack_pointers != nullptr) stack_pointers[count] = sp;
            frames[count++] = pc;
            const std::uintptr_t at = pc - before;
            const std::uint64_t word = cached(at, generation_);
            if (word == 0 || !Packed::from_register(word)) [[unlikely]] {
                now_ = {pc, sp, fp};
                exact_ = before == 0;
                if (!step_slowly(at, word)) break;
                pc = now_.pc, sp = now_.sp, fp = now_.fp;
                before = exact_ ? 0 : 1;
            } else {
                const std::uintptr_t cfa = (Packed::by_fp(word) ? fp : sp) + Packed::cfa_offset(word);
                if (cfa <= sp || !stack_.read(cfa - slot, pc)) break;
                if (Packed::saved_below(word) != 0 && !stack_.read(cfa - Packed::saved_below(word), fp)) break;
                sp = cfa;
                before = 1;
            }
            if (pc == 0) break;
        }
        return count;
    }

  private:
    static constexpr std::uintptr_t frame_reach_ = std::uintptr_t{1} << 20;

    [[gnu::noinline]] bool step_slowly(std::uintptr_t at, std::uint64_t word) {
        const Row row = word != 0 ? Packed::unpack(word) : look_up(at, generation_);
        const bool exact = exact_;
        exact_ = false;
        std::uintptr_t cfa = 0;
        switch (row.kind) {
            case Kind::sp: cfa = now_.sp; break;
            case Kind::fp: cfa = now_.fp; break;
            case Kind::fp_indirect:
                if (!stack_.read(now_.fp + static_cast<std::uintptr_t>(row.cfa_offset), cfa)) return false;
                break;
            case Kind::signal: return leave_signal();
            case Kind::end: return false;
            case Kind::unknown: return exact && leave_wild_call() ? true : step_by_frame_pointer();
        }
        if (row.kind != Kind::fp_indirect) cfa += static_cast<std::uintptr_t>(row.cfa_offset);
        if (cfa <= now_.sp) return false;
        std::uintptr_t pc = 0, fp = now_.fp;
        if (!stack_.read(cfa - slot, pc)) return false;
        switch (row.saved) {
            case Row::Saved::in_register: break;
            case Row::Saved::below_cfa:
                if (!stack_.read(cfa + static_cast<std::uintptr_t>(row.saved_offset), fp)) return false;
                break;
            case Row::Saved::at_fp:
                if (!stack_.read(now_.fp + static_cast<std::uintptr_t>(row.saved_offset), fp)) return false;
                break;
            // Who needs it finds nothing at address 0 and stops.
            case Row::Saved::lost: fp = 0; break;
        }
        now_ = {pc, cfa, fp};
        return true;
    }

    /// The kernel puts a ucontext right above the return address of a signal handler. The interrupted code can be on another stack.
    bool leave_signal() {
#if defined(__x86_64__)
        constexpr int pc = REG_RIP, sp = REG_RSP, fp = REG_RBP;
        const std::uintptr_t registers = now_.sp + offsetof(ucontext_t, uc_mcontext.gregs);
#else
        constexpr int pc = REG_EIP, sp = REG_ESP, fp = REG_EBP;
        // Handlers that want to be told get pointers: the third is the ucontext's. Others get the signal's number, and the registers are next.
        std::uintptr_t registers = now_.sp + slot;
        if (SignalReturn32::is_with_info(now_.pc)) {
            if (!stack_.read(now_.sp + 2 * slot, registers)) return false;
            registers += offsetof(ucontext_t, uc_mcontext.gregs);
        }
#endif
        const auto saved = [&](int which, std::uintptr_t& value) {
            return stack_.read(registers + static_cast<std::size_t>(which) * slot, value);
        };
        Registers interrupted;
        if (!saved(pc, interrupted.pc) || !saved(sp, interrupted.sp) || !saved(fp, interrupted.fp)) return false;
        now_ = interrupted;
        stack_ = StackReader(now_.sp);
        exact_ = true;
        return true;
    }

    /// A call of something that is not code: nothing ran there yet, the return address is on top of the stack.
    bool leave_wild_call() {
        std::uintptr_t pc = 0;
        if (StackReader::readable(now_.pc, 1) || !stack_.read(now_.sp, pc) || !follows_call(pc)) return false;
        now_.pc = pc;
        now_.sp += slot;
        return true;
    }

    /// Code without tables. rbp may be anything there, so what it leads to must look like a frame.
    bool step_by_frame_pointer() {
        std::uintptr_t fp = 0, pc = 0;
        if (now_.fp % slot != 0 || now_.fp < now_.sp || now_.fp - now_.sp > frame_reach_) return false;
        if (!stack_.read(now_.fp, fp) || !stack_.read(now_.fp + slot, pc)) return false;
        if (cached(pc - 1, generation_) == 0 && !follows_call(pc)) return false;
        now_ = {pc, now_.fp + 2 * slot, fp};
        return true;
    }

    Registers now_;
    bool exact_;
    const std::uint64_t generation_;
    StackReader stack_;
};

}  // namespace

Registers interrupted(const void* ucontext) {
    const auto& saved = static_cast<const ucontext_t*>(ucontext)->uc_mcontext.gregs;
#if defined(__x86_64__)
    return {static_cast<std::uintptr_t>(saved[REG_RIP]), static_cast<std::uintptr_t>(saved[REG_RSP]),
            static_cast<std::uintptr_t>(saved[REG_RBP])};
#else
    return {static_cast<std::uintptr_t>(saved[REG_EIP]), static_cast<std::uintptr_t>(saved[REG_ESP]),
            static_cast<std::uintptr_t>(saved[REG_EBP])};
#endif
}

std::size_t capture(const Registers& from, bool exact_pc, std::uintptr_t* frames, std::size_t max) {
    return Walk(from, exact_pc).run(frames, max);
}

std::size_t capture(const Registers& from, std::uintptr_t* frames, std::uintptr_t* stack_pointers, std::size_t max) {
    return Walk(from, false).run(frames, max, stack_pointers);
}

void forget() {
    std::uint64_t before = forgotten.load(relaxed);
    do {
        // Before a generation's number comes again, its old words must be gone.
        if ((before + 1) % generations != 0) continue;
        for (Set& set : sets) {
            if (set.first.load(relaxed) != 0) set.first.store(0, relaxed);
            if (set.second.load(relaxed) != 0) set.second.store(0, relaxed);
        }
    } while (!forgotten.compare_exchange_weak(before, before + 1, seq_cst, relaxed));
}

}  // namespace mpmm::unwind

#endif
