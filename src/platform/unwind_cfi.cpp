// SPDX-License-Identifier: Apache-2.0
// The interpreter of DWARF call frame instructions. It follows three registers: rbp, rsp and the return address. What happens to others is
// read over; what it cannot express about these three makes the row unknown.
#include "platform/unwind_rule.hpp"

#ifdef MPMM_UNWIND_BY_TABLES

#include "platform/unwind_cursor.hpp"

namespace mpmm::unwind {
namespace {

constexpr std::uint64_t dwarf_rbp = Machine::fp, dwarf_rsp = Machine::sp, dwarf_return = Machine::back;

constexpr std::uint8_t breg0 = 0x70;  // DW_OP_breg0: a register and a distance

/// Where a register's value in the caller is.
struct Place {
    enum class Is : std::uint8_t { same, undefined, at_cfa, at_fp, elsewhere };
    Is is = Is::same;
    std::int64_t offset = 0;
};

struct Cfa {
    enum class Is : std::uint8_t { sp, fp, fp_indirect, elsewhere };
    Is is = Is::elsewhere;
    std::int64_t offset = 0;
};

struct State {
    Cfa cfa;
    Place fp, sp, back;

    Place* place(std::uint64_t dwarf_register) {
        switch (dwarf_register) {
            case dwarf_rbp: return &fp;
            case dwarf_rsp: return &sp;
            case dwarf_return: return &back;
            default: return nullptr;
        }
    }
};

class Interpreter {
  public:
    Interpreter(const Program& program, std::uintptr_t at) : program_(program), at_(at), location_(program.start) {}

    bool run() {
        if (!run(Cursor(program_.common, program_.common_end))) return false;
        initial_ = state_;
        location_ = program_.start;
        done_ = false;
        return run(Cursor(program_.own, program_.own_end));
    }
    const State& state() const { return state_; }

  private:
    static constexpr unsigned max_remembered_ = 16;

    bool run(Cursor code) {
        while (code.more() && !done_)
            if (!step(code)) return false;
        return code.ok();
    }

    bool step(Cursor& code) {
        const std::uint8_t instruction = code.byte();
        const std::uint64_t low = instruction & 0x3Fu;
        switch (instruction & 0xC0) {
            case 0x40: advance(low); return true;
            case 0x80: place(low, Place::Is::at_cfa, scaled(code.uleb())); return true;
            case 0xC0: restore(low); return true;
            default: return extended(instruction, code);
        }
    }

    bool extended(std::uint8_t instruction, Cursor& code) {
        std::uint64_t which = 0;
        switch (instruction) {
            case 0x00: return true;  // nop
            case 0x01:               // set_loc
                location_ = static_cast<std::uintptr_t>(code.pointer(program_.encoding, 0));
                done_ = location_ > at_;
                return code.ok();
            case 0x02: advance(code.byte()); return true;
            case 0x03: advance(code.fixed<std::uint16_t>()); return true;
            case 0x04: advance(code.fixed<std::uint32_t>()); return true;
            case 0x05:  // offset_extended
                which = code.uleb();
                place(which, Place::Is::at_cfa, scaled(code.uleb()));
                return true;
            case 0x06: restore(code.uleb()); return true;
            case 0x07: place(code.uleb(), Place::Is::undefined, 0); return true;
            case 0x08: place(code.uleb(), Place::Is::same, 0); return true;
            case 0x09:  // register
                which = code.uleb();
                place(which, code.uleb() == which ? Place::Is::same : Place::Is::elsewhere, 0);
                return true;
            case 0x0A:  // remember_state
                if (remembered_ == max_remembered_) return false;
                stack_[remembered_++] = state_;
                return true;
            case 0x0B:  // restore_state
                if (remembered_ == 0) return false;
                state_ = stack_[--remembered_];
                return true;
            case 0x0C:  // def_cfa
                which = code.uleb();
                cfa(which, static_cast<std::int64_t>(code.uleb()));
                return true;
            case 0x0D: cfa(code.uleb(), state_.cfa.offset); return true;
            case 0x0E: state_.cfa.offset = static_cast<std::int64_t>(code.uleb()); return true;
            case 0x0F: cfa_expression(code.part(code.uleb())); return true;
            case 0x10:  // expression
                which = code.uleb();
                place_expression(which, code.part(code.uleb()));
                return true;
            case 0x11:  // offset_extended_sf
                which = code.uleb();
                place(which, Place::Is::at_cfa, scaled(static_cast<std::uint64_t>(code.sleb())));
                return true;
            case 0x12:  // def_cfa_sf
                which = code.uleb();
                cfa(which, scaled(static_cast<std::uint64_t>(code.sleb())));
                return true;
            case 0x13: state_.cfa.offset = scaled(static_cast<std::uint64_t>(code.sleb())); return true;
            case 0x14:  // val_offset
                which = code.uleb();
                value(which, scaled(code.uleb()));
                return true;
            case 0x15:  // val_offset_sf
                which = code.uleb();
                value(which, scaled(static_cast<std::uint64_t>(code.sleb())));
                return true;
            case 0x16:  // val_expression
                place(code.uleb(), Place::Is::elsewhere, 0);
                code.part(code.uleb());
                return true;
            case 0x2E: code.uleb(); return true;  // GNU_args_size
            case 0x2F:                            // GNU_negative_offset_extended
                which = code.uleb();
                place(which, Place::Is::at_cfa, scaled(std::uint64_t{0} - code.uleb()));
                return true;
            default: return false;
        }
    }

    /// Factored operands; tables may hold anything, so the product wraps.
    std::int64_t scaled(std::uint64_t factored) const {
        return static_cast<std::int64_t>(factored * static_cast<std::uint64_t>(program_.data_factor));
    }
    void advance(std::uint64_t delta) {
        location_ += static_cast<std::uintptr_t>(delta * program_.code_factor);
        done_ = location_ > at_;
    }
    void place(std::uint64_t which, Place::Is is, std::int64_t offset) {
        if (Place* const place = state_.place(which)) *place = {is, offset};
    }
    /// The register's value is CFA + offset: of rsp's we know that already.
    void value(std::uint64_t which, std::int64_t offset) {
        place(which, which == dwarf_rsp && offset == 0 ? Place::Is::same : Place::Is::elsewhere, 0);
    }
    void restore(std::uint64_t which) {
        if (Place* const place = state_.place(which)) *place = *initial_.place(which);
    }
    void cfa(std::uint64_t which, std::int64_t offset) {
        const Cfa::Is is = which == dwarf_rsp ? Cfa::Is::sp : which == dwarf_rbp ? Cfa::Is::fp : Cfa::Is::elsewhere;
        state_.cfa = {is, offset};
    }

    /// Two expressions are known: "*(rbp + n)" of functions that align their stack, and that of linkage tables, which says how much the
    /// entry has pushed by the low bits of the address.
    void cfa_expression(Cursor code) {
        constexpr std::uint8_t breg_fp = breg0 + Machine::fp, breg_sp = breg0 + Machine::sp, breg_back = breg0 + Machine::back;
        constexpr std::uint8_t deref = 0x06, literal0 = 0x30, slot_shift = Machine::slot == 8 ? 3 : 2;
        state_.cfa = {};
        const std::uint8_t first = code.byte();
        const std::int64_t offset = code.sleb();
        if (first == breg_fp && code.byte() == deref && code.ok() && !code.more()) {
            state_.cfa = {Cfa::Is::fp_indirect, offset};
        } else if (first == breg_sp && code.byte() == breg_back && code.sleb() == 0) {
            // lit15 and litN ge lit3 shl plus; lit2 where a slot is 4 bytes
            if (code.byte() != literal0 + 15 || code.byte() != 0x1A) return;
            const unsigned from = code.byte() - literal0;
            if (code.byte() != 0x2A || code.byte() != literal0 + slot_shift || code.byte() != 0x24 || code.byte() != 0x22) return;
            if (!code.ok() || code.more() || from > 15) return;
            state_.cfa = {Cfa::Is::sp, offset + ((at_ & 15) >= from ? Machine::slot : 0)};
        }
    }
    void place_expression(std::uint64_t which, Cursor code) {
        const bool by_fp = code.byte() == breg0 + Machine::fp;
        const std::int64_t offset = code.sleb();
        place(which, by_fp && code.ok() && !code.more() ? Place::Is::at_fp : Place::Is::elsewhere, offset);
    }

    const Program& program_;
    const std::uintptr_t at_;
    std::uintptr_t location_;
    bool done_ = false;
    State state_, initial_;
    unsigned remembered_ = 0;
    State stack_[max_remembered_];
};

Row row_of(const State& state) {
    Row row;
    if (state.back.is == Place::Is::undefined) {
        row.kind = Kind::end;
        return row;
    }
    if (state.back.is != Place::Is::at_cfa || state.back.offset != -Machine::slot || state.sp.is != Place::Is::same) return row;
    switch (state.cfa.is) {
        case Cfa::Is::sp: row.kind = Kind::sp; break;
        case Cfa::Is::fp: row.kind = Kind::fp; break;
        case Cfa::Is::fp_indirect: row.kind = Kind::fp_indirect; break;
        case Cfa::Is::elsewhere: return row;
    }
    row.cfa_offset = state.cfa.offset;
    row.saved_offset = state.fp.offset;
    switch (state.fp.is) {
        case Place::Is::same: row.saved = Row::Saved::in_register; break;
        case Place::Is::at_cfa: row.saved = Row::Saved::below_cfa; break;
        case Place::Is::at_fp: row.saved = Row::Saved::at_fp; break;
        case Place::Is::undefined:
        case Place::Is::elsewhere: row.saved = Row::Saved::lost; break;
    }
    return row;
}

}  // namespace

Row run(const Program& program, std::uintptr_t at) {
    Interpreter interpreter(program, at);
    return interpreter.run() ? row_of(interpreter.state()) : Row{};
}

}  // namespace mpmm::unwind

#endif
