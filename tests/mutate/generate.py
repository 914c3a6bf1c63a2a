# SPDX-License-Identifier: Apache-2.0
"""Finds the mutants of the allocator's sources in clang's syntax tree; templates count as they are written, not as they are instantiated."""
import bisect
import pathlib
import re

import clang.cindex
from clang.cindex import CursorKind as Kind

import mutant as mutants

ARGUMENTS = ["-std=c++20", '-DMPMM_VERSION="0"', "-Isrc", "-Iinclude", "-fno-delayed-template-parsing"]

# Not the allocator: its program, and the schedule fuzzer's seam.
SKIPPED = ("src/tools/", "src/platform/schedule.hpp")

BOUNDARY = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
EQUALITY = {"==": "!=", "!=": "=="}
LOGIC = {"&&": "||", "||": "&&"}
ARITHMETIC = {"+": "-", "-": "+", "*": "/", "/": "*", "%": "/", "<<": ">>", ">>": "<<", "&": "|", "|": "&", "^": "|"} | {
    "+=": "-=", "-=": "+=", "|=": "&=", "&=": "|=", "<<=": ">>=", ">>=": "<<=",
}  # fmt: skip
UNARY = {"++": "--", "--": "++"}
# Members that stand for each other's opposite.
SWAPS = [("free_map", "remote_map"), ("free_bits", "dirty_bits"), ("dirty_bits", "aged_bits"), ("idle_units", "clean_units"),
         ("previous", "next"), ("all_previous", "all_next"), ("head", "tail"), ("reserved_first", "reserved_count")]  # fmt: skip
SWAP = {a: b for pair in SWAPS for a, b in (pair, pair[::-1])}

WEAKER = {
    "load": {"acquire": ["relaxed"], "seq_cst": ["acquire"]},
    "store": {"release": ["relaxed"], "seq_cst": ["release"]},
    "other": {"acquire": ["relaxed"], "release": ["relaxed"], "acq_rel": ["acquire", "release"], "seq_cst": ["acq_rel"]},
}
ORDERS = {"relaxed", "acquire", "release", "acq_rel", "seq_cst"}
ATOMIC_MEMBER = re.compile(r"load|store|exchange|fetch_\w+|compare_exchange_\w+")
DEFAULT_ORDER = {"load": "acquire", "store": "release", "other": "acq_rel"}

STATEMENTS = {Kind.COMPOUND_STMT, Kind.IF_STMT, Kind.FOR_STMT, Kind.WHILE_STMT, Kind.DO_STMT, Kind.CXX_FOR_RANGE_STMT, Kind.CASE_STMT,
              Kind.DEFAULT_STMT}  # fmt: skip
FUNCTIONS = {Kind.FUNCTION_DECL, Kind.CXX_METHOD, Kind.CONSTRUCTOR, Kind.DESTRUCTOR, Kind.FUNCTION_TEMPLATE, Kind.CONVERSION_FUNCTION}
# Where a change says nothing about behaviour: it would not compile.
CLOSED = {Kind.STATIC_ASSERT, Kind.ENUM_CONSTANT_DECL, Kind.TEMPLATE_NON_TYPE_PARAMETER, Kind.TEMPLATE_TYPE_PARAMETER, Kind.TYPE_ALIAS_DECL,
          Kind.ALIGNED_ATTR, Kind.ASM_STMT}  # fmt: skip


def order_kind(callee):
    if callee in ("load", "owner"):
        return "load"
    return "store" if callee in ("store", "set_owner") else "other"


class File:
    def __init__(self, root, name):
        self.name, self.bytes = name, (root / name).read_bytes()
        self.starts = [0] + [m.end() for m in re.finditer(b"\n", self.bytes)]

    def text(self, start, end):
        return self.bytes[start:end].decode()

    def place(self, offset):
        line = bisect.bisect_right(self.starts, offset)
        return line, offset - self.starts[line - 1] + 1

    def close_paren(self, offset):
        """Past the parenthesis that closes the first one at or after `offset`."""
        depth = 0
        for i in range(self.bytes.index(b"(", offset), len(self.bytes)):
            depth += {40: 1, 41: -1}.get(self.bytes[i], 0)
            if depth == 0:
                return i + 1
        raise ValueError(f"{self.name}: no closing parenthesis")

    def callee(self, offset):
        """The name before the innermost parenthesis around `offset`."""
        depth = 0
        for i in range(offset - 1, 0, -1):
            depth += {41: 1, 40: -1}.get(self.bytes[i], 0)
            if depth < 0:
                found = re.search(rb"(\w+)\s*$", self.bytes[:i][-80:])
                return found.group(1).decode() if found else ""
        return ""


class Generator:
    def __init__(self, root):
        self.root = pathlib.Path(root)
        self.files, self.found = {}, {}

    def run(self):
        sources = [f for f in sorted((self.root / "src").rglob("*")) if not str(f.relative_to(self.root)).startswith(SKIPPED)]
        names = [str(f.relative_to(self.root / "src")) for f in sources if f.suffix == ".hpp"]
        headers = "".join(f'#include "{name}"\n' for name in names)
        for mode in (["-DMPMM_VERIFY_BUILD"], []):
            self.parse("src/every_header.cpp", mode, lambda name: not name.endswith(".cpp"), headers)
        for source in sources:
            if source.suffix == ".cpp":
                name = str(source.relative_to(self.root))
                self.parse(name, ["-DMPMM_VERIFY_BUILD"], lambda file, own=name: file == own)
        return sorted(self.found.values(), key=lambda m: (m.file, m.start, m.operator, m.mutated))

    def parse(self, name, arguments, wanted, text=None):
        path = str(self.root / name)
        here = [f"-I{self.root}/{a[2:]}" if a.startswith("-I") else a for a in ARGUMENTS]
        unit = clang.cindex.Index.create().parse(path, here + arguments, [(path, text)] if text is not None else None)
        wrong = [str(d) for d in unit.diagnostics if d.severity >= clang.cindex.Diagnostic.Error]
        if wrong:
            raise RuntimeError("\n".join(wrong))
        for cursor in unit.cursor.get_children():
            file = cursor.location.file
            if file is None or not pathlib.Path(file.name).is_relative_to(self.root / "src"):
                continue
            relative = str(pathlib.Path(file.name).relative_to(self.root))
            if wanted(relative):
                if relative not in self.files:
                    self.files[relative] = File(self.root, relative)
                self.file = self.files[relative]
                self.visit(cursor, None, "")

    # ---- the walk ----

    def visit(self, cursor, parent, function):
        kind = cursor.kind
        if kind in CLOSED:
            return
        if kind in FUNCTIONS:
            owner = cursor.semantic_parent
            member = owner is not None and owner.spelling and owner.kind != Kind.NAMESPACE
            function = f"{owner.spelling}::{cursor.spelling}" if member else cursor.spelling
        children = list(cursor.get_children())
        self.mutate(cursor, parent, children, function)
        for child in children:
            if kind == Kind.CASE_STMT and child == children[0]:
                continue
            self.visit(child, cursor, function)

    def add(self, start, end, mutated, operator, function):
        original = self.file.text(start, end)
        if original == mutated:
            return
        line, column = self.file.place(start)
        lines = mutants.lines_of(self.file.bytes, start, end, mutated)
        mutant = mutants.Mutant(self.file.name, line, column, operator, function, start, original, mutated, *lines)
        self.found.setdefault((self.file.name, start, end, mutated), mutant)

    def mutate(self, cursor, parent, children, function):
        kind, start, end = cursor.kind, cursor.extent.start.offset, cursor.extent.end.offset
        if cursor.extent.start.file is None or end <= start:
            return
        if kind == Kind.INTEGER_LITERAL or kind == Kind.CXX_BOOL_LITERAL_EXPR:
            self.constant(start, end, function)
        if kind == Kind.DECL_REF_EXPR and cursor.spelling in ORDERS:
            self.order(cursor, start, end, function)
        if not function:
            return
        if kind in (Kind.IF_STMT, Kind.WHILE_STMT, Kind.FOR_STMT, Kind.CONDITIONAL_OPERATOR):
            self.condition(cursor, children, start, function)
        if kind in (Kind.BINARY_OPERATOR, Kind.COMPOUND_ASSIGNMENT_OPERATOR) and len(children) == 2:
            self.binary(children, function)
        if kind == Kind.UNARY_OPERATOR:
            self.unary(start, end, function)
        if kind in (Kind.MEMBER_REF_EXPR, Kind.DECL_REF_EXPR, Kind.MEMBER_REF):
            self.swap(cursor.location.offset, function)
        if kind == Kind.CALL_EXPR and any(child.type.spelling.endswith("memory_order") for child in children):
            self.default_order(start, end, function)
        if parent is not None and parent.kind in STATEMENTS:
            self.statement(cursor, parent, children, start, end, function)

    # ---- the operators ----

    def constant(self, start, end, function):
        text = self.file.text(start, end)
        if text in ("true", "false"):
            self.add(start, end, "false" if text == "true" else "true", "constant", function)
        elif re.fullmatch(r"[0-9][0-9']*[uUlLzZ]*", text):
            digits = re.match(r"[0-9']+", text).group()
            if digits == "0" or not digits.startswith("0"):
                self.add(start, end, str(int(digits.replace("'", "")) + 1) + text[len(digits) :], "constant", function)

    def order(self, cursor, start, end, function):
        if cursor.referenced is None or not str(cursor.referenced.location.file).endswith("platform/atomics.hpp"):
            return
        text = self.file.text(start, end)
        for weaker in WEAKER[order_kind(self.file.callee(start))].get(text, []):
            self.add(start, end, weaker, "order", function)

    def default_order(self, start, end, function):
        """An atomic operation that names no order has the strongest."""
        text = self.file.text(start, end)
        call = re.search(r"[.>](\w+)\(([^()]*)\)$", text)
        words = set(re.findall(r"\w+", call.group(2))) if call else set()
        if call and ATOMIC_MEMBER.fullmatch(call.group(1)) and not (ORDERS | {"order"}) & words:
            weaker = "mpmm::" + DEFAULT_ORDER[order_kind(call.group(1))]
            self.add(start, end, text[:-1] + (", " if call.group(2) else "") + weaker + ")", "order", function)

    def condition(self, cursor, children, start, function):
        if cursor.kind == Kind.CONDITIONAL_OPERATOR:
            inside = children[:1]
        else:
            close = self.file.close_paren(start)
            if re.match(r"if\s+(constexpr|consteval)", self.file.text(start, close)):
                return
            inside = [c for c in children if c.extent.end.offset < close and c.kind.is_expression()]
            if cursor.kind == Kind.FOR_STMT:
                # The one that a semicolon follows, and that follows one.
                inside = [c for c in inside if self.after(c) == ";" and ";" in self.file.text(start, c.extent.start.offset)]
        if not inside:
            return
        first, last = inside[-1].extent.start.offset, inside[-1].extent.end.offset
        # Equalities and negations are negated where they stand.
        if not self.is_equality(inside[-1]) and not (inside[-1].kind == Kind.UNARY_OPERATOR and self.file.bytes[first] == ord("!")):
            self.add(first, last, f"!({self.file.text(first, last)})", "negate", function)
        between = self.file.text(children[-2].extent.end.offset, children[-1].extent.start.offset)
        if cursor.kind == Kind.IF_STMT and not re.search(r"\belse\b", between):
            self.add(first, last, "false", "skip", function)

    def is_equality(self, cursor):
        sides = list(cursor.get_children())
        return cursor.kind == Kind.BINARY_OPERATOR and len(sides) == 2 and self.token(*sides)[0] in EQUALITY

    def token(self, left, right):
        """The operator between two operands, and where it is."""
        start = left.extent.end.offset
        between = re.sub(r"[()]", " ", self.file.text(start, right.extent.start.offset))
        token = between.strip()
        return token, start + between.find(token)

    def after(self, cursor):
        return self.file.text(cursor.extent.end.offset, cursor.extent.end.offset + 40).strip()[:1]

    def binary(self, children, function):
        token, at = self.token(*children)
        for table, operator in ((BOUNDARY, "boundary"), (EQUALITY, "negate"), (LOGIC, "logic"), (ARITHMETIC, "arithmetic")):
            if token in table:
                self.add(at, at + len(token), table[token], operator, function)
        if token in LOGIC:
            for side in children:
                self.add(side.extent.start.offset, side.extent.end.offset, "true" if token == "&&" else "false", "skip", function)

    def unary(self, start, end, function):
        text = self.file.text(start, end)
        for token, other in UNARY.items():
            if text.startswith(token):
                self.add(start, start + 2, other, "arithmetic", function)
            elif text.endswith(token):
                self.add(end - 2, end, other, "arithmetic", function)
        if text[0] in "~!":
            self.add(start, start + 1, "", "negate" if text[0] == "!" else "arithmetic", function)

    def swap(self, at, function):
        name = re.match(r"\w*", self.file.text(at, at + 40)).group()
        if name in SWAP:
            for pair in SWAPS:
                if name in pair:
                    self.add(at, at + len(name), pair[1 - pair.index(name)], "swap", function)

    def statement(self, cursor, parent, children, start, end, function):
        text = self.file.text(start, end)
        if parent.kind == Kind.CASE_STMT and self.file.text(parent.extent.start.offset, start).strip() == "case":
            return
        if parent.kind in (Kind.IF_STMT, Kind.WHILE_STMT, Kind.FOR_STMT, Kind.CXX_FOR_RANGE_STMT):
            if start < self.file.close_paren(parent.extent.start.offset):
                return
        if parent.kind == Kind.DO_STMT and cursor != next(parent.get_children()):
            return
        if cursor.kind.is_expression() and self.after(cursor) == ";":
            self.add(start, end, "(void)0", "fence" if "fence(" in text else "drop", function)
        elif cursor.kind == Kind.DECL_STMT and re.match(r"const (\w+::)?(Guard|Hold)\b", text):
            self.add(start, end, ";", "drop", function)
