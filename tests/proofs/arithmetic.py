#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Proves the arithmetic of indices with z3, for all sizes, offsets and addresses of each geometry, not only those in tables.

Constants and tables come from a program that prints them from the headers. The formulas are written here once more, so each quotes the
line it stands for, which must be in the source; those of the size classes must also give what the program prints. Products of two unknowns
are proved over the integers (no machine product overflows there), everything else as bit-vectors of the machine's width. Some claims
are also made wrongly, and z3 must refute those.

Usage: arithmetic.py --numbers PROGRAM --source SRC
"""
import argparse
import json
import pathlib
import re
import subprocess
import sys

import z3
from z3 import And, BitVec, BitVecVal, Extract, If, Implies, Ints, LShR, Not, Or, UDiv, UGE, UGT, ULE, ULT, URem, ZeroExt


class Prover:
    def __init__(self, source: pathlib.Path):
        self.source, self.proved, self.wrong, self.logic = source, set(), [], "QF_BV"

    def quote(self, file: str, *texts: str) -> None:
        content = (self.source / file).read_text()
        self.wrong += [f"{file} does not say: {text}" for text in texts if text not in content]

    def constant(self, file: str, pattern: str) -> int:
        found = re.findall(pattern, (self.source / file).read_text())
        if len(found) != 1:
            raise SystemExit(f"{file}: {len(found)} times {pattern}")
        return int(found[0])

    def ask(self, claim) -> tuple[z3.CheckSatResult, str]:
        solver = z3.SolverFor(self.logic)
        solver.set("rlimit", 500_000_000)  # of steps, not of time
        solver.add(Not(claim))
        answer = solver.check()
        return answer, str(solver.model()) if answer == z3.sat else solver.reason_unknown()

    def holds(self, name: str, claim) -> None:
        # Geometries share claims.
        if claim.sexpr() in self.proved:
            return
        answer, why = self.ask(claim)
        if answer == z3.unsat:
            self.proved.add(claim.sexpr())
        else:
            self.wrong.append(f"{name}: {answer}: {why}")

    def refuted(self, name: str, claim) -> None:
        answer, _ = self.ask(claim)
        if answer != z3.sat:
            self.wrong.append(f"{name}: a wrong claim is not refuted: {answer}")


def division(p: Prover, chunk: int) -> None:
    """Every offset below the longest chunk, every size from 8 to half of it: the quotient, and `exact` for multiples only."""
    p.quote("block/reciprocal.hpp", "factor_(~std::uint64_t{0} / divisor + 1)", "static_cast<unsigned __int128>(a) * b",
            "return {high, low < factor_};", "const std::uint32_t quotient = small / divisor_;", "return {quotient, quotient * divisor_ == small};")
    word = 2**64
    offset, size, quotient, rest, factor, below = Ints("offset size quotient rest factor below")
    sizes = And(8 <= size, size <= chunk // 2)
    # ~0 / size is `below`: the greatest number whose product with size, `most`, is at most 2^64 - 1.
    most, excess = Ints("most excess")
    p.holds("the next product", (below + 1) * size == below * size + size)
    p.holds("factor", Implies(And(sizes, most <= word - 1, word - 1 < most + size, excess == most + size - word), And(0 <= excess, excess < size)))
    given = And(sizes, factor * size == word + excess, 0 <= excess, excess < size, offset == quotient * size + rest, 0 <= rest, rest < size,
                0 <= quotient, offset < chunk)
    # The product is quotient * 2^64 + (a + b).
    a, b = Ints("a b")
    p.holds("product", Implies(given, offset * factor == quotient * word + quotient * excess + rest * factor))
    p.holds("a", Implies(given, And(0 <= quotient * excess, quotient * excess <= offset)))
    p.holds("b", Implies(And(0 <= rest, rest < size, factor >= 0),
                         And(rest * factor <= (size - 1) * factor, Implies(rest > 0, rest * factor >= factor))))
    p.holds("factor is great", Implies(given, factor * chunk >= word))
    known = And(sizes, 0 <= excess, excess < size, 0 <= a, a <= offset, offset < chunk, 0 <= rest, rest < size, factor * chunk >= word,
                b <= word + excess - factor, If(rest == 0, b == 0, b >= factor))

    def divides(known) -> z3.BoolRef:
        return Implies(known, And(0 <= a + b, a + b < word, (a + b < factor) == (rest == 0)))

    p.holds("quotient and remainder", divides(known))
    p.refuted("quotient and remainder", divides(z3.substitute(known, (factor * chunk >= word, factor >= 1))))
    # Without 128-bit products.
    p.holds("32 bits", Implies(given, And((quotient * size == offset) == (rest == 0), quotient * size < 2**32)))


def floor_log2(value):
    result = BitVecVal(0, 32)
    for bit in range(1, 32):
        result = If(Extract(bit, bit, value) == 1, BitVecVal(bit, 32), result)
    return result


def class_of(g: dict, size):
    shift = floor_log2(size - 1) - 3
    above = shift * g["per_doubling"] + LShR(size - 1, shift) - (4 * g["per_doubling"] + 8 - g["linear_classes"])
    return If(ULE(size, 8), BitVecVal(0, 32), If(ULE(size, 128), LShR(size + 15, 4), above))


def size_of(g: dict, index):
    above = index - g["linear_classes"]
    doubled = (g["per_doubling"] + 1 + URem(above, g["per_doubling"])) * (BitVecVal(16, 32) << UDiv(above, g["per_doubling"]))
    return If(index == 0, BitVecVal(8, 32), If(ULT(index, g["linear_classes"]), index * 16, doubled))


def size_classes(p: Prover, name: str, g: dict) -> None:
    p.quote("block/size_classes.hpp", "if (size <= 8) return 0;", "if (size <= 128) return static_cast<unsigned>((size + 15) / 16);",
            "const unsigned shift = floor_log2(size - 1) - 3;",
            "return shift * per_doubling + static_cast<unsigned>((size - 1) >> shift) - (4 * per_doubling + 8 - linear_classes);",
            "if (index == 0) return 8;", "if (index < linear_classes) return index * std::size_t{16};",
            "const unsigned above = index - linear_classes;",
            "return (per_doubling + 1 + above % per_doubling) * (std::size_t{16} << above / per_doubling);")
    size, other, any_index = BitVec("size", 32), BitVec("other", 32), BitVec("any_index", 32)
    index, size_of_any = class_of(g, size), size_of(g, any_index)
    got = size_of(g, index)
    for value, expected in g["of"]:
        if z3.simplify(z3.substitute(index, (size, BitVecVal(value, 32)))).as_long() != expected:
            p.wrong.append(f"{name}: the formula for the class of {value} is not the source's")
    for value, shape in enumerate(g["classes"]):
        if z3.simplify(z3.substitute(size_of_any, (any_index, BitVecVal(value, 32)))).as_long() != shape["size"]:
            p.wrong.append(f"{name}: the formula for the size of class {value} is not the source's")
    valid = And(UGE(size, 1), ULE(size, g["max_size"]))
    p.holds(f"{name}: fits, and in no smaller class",
            Implies(valid, And(ULT(index, g["count"]), UGE(got, size), Or(index == 0, ULT(size_of(g, index - 1), size)))))
    p.holds(f"{name}: monotone", Implies(And(valid, UGE(other, size), ULE(other, g["max_size"])), UGE(class_of(g, other), index)))

    def waste(share: int):
        return Implies(And(valid, UGT(size, 128)), ULE((got - size) * share, got))

    p.holds(f"{name}: an eighth is lost at most", waste(8))
    p.refuted(f"{name}: a tenth is lost at most", waste(10))
    p.holds(f"{name}: alignment of 16", Implies(And(valid, UGT(size, 8)), URem(got, 16) == 0))
    p.holds(f"{name}: powers of two are classes", Implies(And(valid, UGE(size, 8), (size & (size - 1)) == 0), got == size))
    position, slot = BitVec("position", 32), BitVec("slot", 32)
    for shape in g["classes"]:
        bytes_, shift = shape["size"], shape["slot_shift"]
        alignment = bytes_ & -bytes_
        # The slot's address is a multiple of its length.
        p.holds(f"{name}: blocks of {bytes_} are naturally aligned",
                Implies(ULT(position, shape["blocks"]), URem((slot << shift) + position * bytes_, alignment) == 0))


def digital_tree(p: Prover, name: str, g: dict) -> None:
    """An address has one path, and chunks have different ones."""
    file = "chunkmap/digital_tree.hpp"
    p.quote(file, "leaves[static_cast<std::uint8_t>(number >> leaf_bits)]", "entries[static_cast<std::uint8_t>(number)]",
            "mid_of(number)->leaves[(number >> leaf_bits) % mid_size].load(acquire)->entries[number % leaf_size]",
            "self->root_[number >> (mid_bits + leaf_bits)]", "number = (number / leaf_size + 1) * leaf_size", "(number + i) << G::chunk_shift",
            "chunk_count = std::uintptr_t{1} << (AddressBits - G::chunk_shift)",
            "root_span = leaf_size * mid_size, root_size = chunk_count / root_span", "leaf_size = 1u << leaf_bits, mid_size = 1u << mid_bits",
            "unsigned AddressBits = address_bits>")
    bits = p.constant("platform/geometry.hpp", r"address_bits = sizeof\(void\*\) == 4 \? 32 : (\d+);")
    leaf_bits, mid_bits = p.constant(file, r"unsigned leaf_bits = (\d+)"), p.constant(file, r"leaf_bits = \d+, mid_bits = (\d+);")
    shift, chunks, leaf_size, mid_size = g["chunk_shift"], 1 << bits - g["chunk_shift"], 1 << leaf_bits, 1 << mid_bits
    root_size = chunks // leaf_size // mid_size

    def path(number, leaf_bits=leaf_bits):
        return LShR(number, mid_bits + leaf_bits), Extract(7, 0, LShR(number, leaf_bits)), Extract(7, 0, number)

    def same(a, b):
        return And(*(x == y for x, y in zip(a, b)))

    address, other = BitVec("address", 64), BitVec("other", 64)
    number, second = LShR(address, shift), LShR(other, shift)
    ours = And(ULT(number, chunks), ULT(second, chunks))
    p.holds(f"{name}: one path a chunk", Implies(ours, same(path(number), path(second)) == (number == second)))
    p.refuted(f"{name}: one path a chunk when the middle begins one bit later",
              Implies(ours, same(path(number, leaf_bits + 1), path(second, leaf_bits + 1)) == (number == second)))
    root, mid, leaf = path(number)
    p.holds(f"{name}: inside the nodes",
            Implies(ours, And(ULT(root, root_size), ULT(ZeroExt(56, mid), mid_size), ULT(ZeroExt(56, leaf), leaf_size))))
    p.holds(f"{name}: find() and set() agree",
            Implies(ours, And(ZeroExt(56, mid) == URem(LShR(number, leaf_bits), mid_size), ZeroExt(56, leaf) == URem(number, leaf_size))))
    # for_each(): the path of what it visits as entry i of the leaf that begins at `start`.
    i, start = BitVec("i", 64), BitVec("start", 64)
    visited = LShR((start + i) << shift, shift)
    p.holds(f"{name}: for_each() tells the chunk's address",
            Implies(And(ULT(i, leaf_size), ULT(start, chunks), URem(start, leaf_size) == 0),
                    same(path(visited), (LShR(start, mid_bits + leaf_bits), Extract(7, 0, LShR(start, leaf_bits)), Extract(7, 0, i)))))
    # reserve(): the leaf of every chunk from the first on is the first's, or begins where the loop comes by. Steps lead to the next leaf.
    count = BitVec("count", 64)
    begin = UDiv(second, leaf_size) * leaf_size
    p.holds(f"{name}: reserve() leaves out no leaf",
            Implies(And(ours, ULE(count, chunks - number), ULE(number, second), ULT(second, number + count)),
                    Or(UDiv(number, leaf_size) == UDiv(second, leaf_size), And(UGT(begin, number), ULT(begin, number + count)))))
    following = (UDiv(number, leaf_size) + 1) * leaf_size
    p.holds(f"{name}: reserve() goes from leaf to leaf",
            Implies(ours, And(UGT(following, number), UDiv(following, leaf_size) == UDiv(number, leaf_size) + 1)))


def flat_map(p: Prover, name: str, g: dict) -> None:
    p.quote("chunkmap/flat_map.hpp", "reinterpret_cast<std::uintptr_t>(address) >> G::chunk_shift;",
            "chunk_count = std::uintptr_t{1} << (AddressBits - G::chunk_shift)")
    bits, shift = p.constant("chunkmap/flat_map.hpp", r"unsigned AddressBits = (\d+)>"), g["chunk_shift"]
    address, other = BitVec("address", 32), BitVec("other", 32)
    p.holds(f"{name}: one entry a chunk", And(ULT(LShR(address, shift), 1 << bits - shift),
                                              (LShR(address, shift) == LShR(other, shift)) == ((address & -g["chunk"]) == (other & -g["chunk"]))))


def tenants(p: Prover, name: str, g: dict) -> None:
    """From an address and its chunk's entry to the tenant of its slot."""
    p.quote("block/tenant_map.hpp", "(reinterpret_cast<std::uintptr_t>(chunk) >> slot_shift) * tenant_size",
            "(reinterpret_cast<std::uintptr_t>(first) - before) | (slot_shift - first_shift)",
            "static_cast<Bits>(reinterpret_cast<std::uintptr_t>(address)) >> first_shift >> (bits & shift_mask)",
            "no_slots = sizeof(Bits) * 8 - 1, first_shift = sizeof(Bits) == 4 ? 1 : 0;",
            "(bits + slot * TenantSize) & ~tag_mask", "shift_mask = no_slots, tag_mask = tenant_alignment - 1",
            "return ForeignTenant::storage[0].bytes + no_slots;")
    width, tenant_size, tag, none = 8 * g["pointer"], g["tenant_size"], g["tenant_alignment"] - 1, g["no_slots"]
    first_shift = 1 if width == 32 else 0
    first, address = BitVec("first", width), BitVec("address", width)
    offset = BitVec("offset", g["chunk_shift"])
    chunk, inside = (z3.Concat(BitVec("number", width - offset.size()), low) for low in [BitVecVal(0, offset.size()), offset])

    def tenant(entry, address, shift):
        return (entry + LShR(LShR(address, first_shift), shift) * tenant_size) & ~tag

    def position(shift):
        return ZeroExt(width - offset.size(), LShR(offset, shift))

    aligned = (first & tag) == 0
    # The slot numbers of a chunk follow on that of its first slot; times the tenants' size they are multiples of the alignment, like `first`.
    a, b, start, steps = (BitVec(n, width) for n in ["a", "b", "start", "steps"])
    p.holds(f"{name}: multiples of a tenant's size", And((a * tenant_size & tag) == 0, (a + b) * tenant_size == a * tenant_size + b * tenant_size))
    aligned_all = And(aligned, (start & tag) == 0, (steps & tag) == 0)
    shifts = sorted({shape["slot_shift"] for shape in g["classes"]})
    for shift in shifts:
        p.holds(f"{name}: numbers of slots of 2^{shift}", And(LShR(LShR(inside, first_shift), shift - first_shift) == LShR(inside, shift),
                                                              LShR(inside, shift) == LShR(chunk, shift) + position(shift)))
        entry = (first - start) | (shift - first_shift)
        p.holds(f"{name}: entries for slots of 2^{shift}",
                Implies(aligned_all, And(entry & none == shift - first_shift, (entry + (start + steps)) & ~tag == first + steps)))
    p.refuted(f"{name}: numbers of longer slots", LShR(inside, shifts[0]) == LShR(chunk, shifts[0]) + position(shifts[0] + 1))
    p.refuted(f"{name}: tenants that are not aligned",
              And(entry & none == shift - first_shift, (entry + (start + steps)) & ~tag == first + steps))
    whole = first | none
    p.holds(f"{name}: no slots in an entry", Implies(aligned, whole & none == none))
    # Of 64 bits no process has addresses with the highest one set, of 32 it has.
    ours = ULT(address, 1 << 63) if width == 64 else z3.BoolVal(True)
    p.holds(f"{name}: whole chunks have one tenant", Implies(And(aligned, ours), tenant(whole, address, none) == first))
    p.holds(f"{name}: any address that is not ours leads into the foreign words",
            Implies(aligned, ULE(tenant(whole, address, none) - first, g["foreign_bytes"] - g["tenant_alignment"])))


def intrusive_headers(p: Prover, name: str, g: dict) -> None:
    p.quote("block/tenant_map.hpp", "(std::uintptr_t{1} << (slot_shift - 1)) - tenant_alignment;",
            "slot + ((slot >> slot_shift) * (5 * tenant_alignment) & colours)")
    number, width = BitVec("number", 8 * g["pointer"]), 8 * g["pointer"]
    for shift in sorted({shape["slot_shift"] for shape in g["classes"] if shape["size"] <= 128}):
        slot = number << shift
        place = slot + (LShR(slot, shift) * (5 * g["tenant_alignment"]) & (1 << shift - 1) - g["tenant_alignment"])
        p.holds(f"{name}: a header in its slot of 2^{shift}",
                And(ULE(place - slot, BitVecVal((1 << shift) - g["tenant_size"], width)), (place & g["tenant_alignment"] - 1) == 0))


def combining(p: Prover, name: str, g: dict) -> None:
    p.quote("tcache/combining_buffer.hpp", "reinterpret_cast<std::uintptr_t>(&block) + index / 64", "key & ~key_words",
            "static_cast<unsigned>(key & key_words)", "table_[class_index][(key ^ key / sizeof(Block)) % ways]",
            "key_words = C::Geometry::map_words - 1")
    width, words = 8 * g["pointer"], g["map_words"]
    block, other, word, second = (BitVec(n, width) for n in ["block", "other", "word", "second"])
    given = And(*((x & max(g["line"], g["tenant_alignment"]) - 1) == 0 for x in [block, other]), ULT(word, words), ULT(second, words))

    def entry(key):
        return URem(key ^ UDiv(key, g["tenant_size"]), g["ways"])

    p.holds(f"{name}: a key tells block allocator and word",
            Implies(given, And(((block + word) & ~(words - 1)) == block, ((block + word) & words - 1) == word)))
    p.holds(f"{name}: keys differ", Implies(given, (block + word == other + second) == And(block == other, word == second)))
    near = Implies(And(given, ULT(word - second + g["ways"] - 1, 2 * g["ways"] - 1), word != second), entry(block + word) != entry(block + second))
    p.holds(f"{name}: neighbouring words do not collide", near)
    if words > g["ways"]:
        p.refuted(f"{name}: no words of a block allocator collide",
                  Implies(And(given, word != second), entry(block + word) != entry(block + second)))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--numbers", required=True)
    parser.add_argument("--source", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    geometries = json.loads(subprocess.run([arguments.numbers], check=True, capture_output=True, text=True).stdout)
    p = Prover(arguments.source)
    p.logic = "QF_NIA"
    division(p, max(g["chunk"] for g in geometries))
    p.logic = "QF_BV"
    for g in geometries:
        name = f"{g['page']}/{g['line']}/{g['pointer']}"
        size_classes(p, name, g)
        (digital_tree if g["pointer"] == 8 else flat_map)(p, name, g)
        tenants(p, name, g)
        intrusive_headers(p, name, g)
        combining(p, name, g)
    print("\n".join(p.wrong))
    print(f"{len(p.proved)} claims proved, {len(geometries)} geometries")
    return 1 if p.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
