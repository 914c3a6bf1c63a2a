# SPDX-License-Identifier: Apache-2.0
# The process or core file that gdb looks at: its memory in large pieces, the layout of types out of the debug information, symbols, maps
# and threads. A million gdb.Values would take minutes; so structures are read as bytes, and gdb only tells where in them a member is.

import os
import re
import struct

import gdb


class Problem(Exception):
    """Something the user should be told in one line."""


def read(address, size):
    """The bytes there; Problem when they cannot be read."""
    if size == 0:
        return b""
    try:
        return bytes(gdb.selected_inferior().read_memory(address, size))
    except (gdb.MemoryError, OverflowError) as error:
        raise Problem("cannot read %d bytes at 0x%x" % (size, address)) from error


def read_pieces(begin, end, page=4096, step=1 << 20):
    """What can be read of [begin, end), as (address, bytes): a core file does not hold everything."""
    while begin < end:
        stop = min(end, (begin // step + 1) * step)
        try:
            yield begin, read(begin, stop - begin)
        except Problem:
            if step > page:
                yield from read_pieces(begin, stop, page, page)
        begin = stop


def pointer_size():
    return gdb.lookup_type("void").pointer().sizeof


def byte_order():
    return "big" if "big endian" in gdb.execute("show endian", to_string=True) else "little"


class Layout:
    """Where the members of a type are. A path is like 'extent.base'; members of base classes count as the type's own."""

    def __init__(self, gdb_type):
        self.type = gdb_type.strip_typedefs().unqualified()
        self.size = self.type.sizeof
        self.order = byte_order()
        self.known = {}

    def find(self, path):
        """(offset, size, first bit, bits or 0, type)"""
        if path not in self.known:
            kind, offset = self.type, 0
            bit = bits = 0
            for name in path.split("."):
                field, at = self.member(kind, name)
                if field is None:
                    raise Problem("the debug information of %s has no member %s: is this script of the same version?" % (self.type, path))
                kind = field.type.strip_typedefs()
                bits = field.bitsize
                bit = at % 8 if bits else 0
                offset += at // 8
            size = (bit + bits + 7) // 8 if bits else kind.sizeof
            self.known[path] = (offset, size, bit, bits, kind)
        return self.known[path]

    def member(self, kind, name):
        for field in kind.fields():
            if field.name == name and not field.is_base_class and hasattr(field, "bitpos"):
                return field, field.bitpos
        for field in kind.fields():
            if field.is_base_class:
                found, at = self.member(field.type.strip_typedefs(), name)
                if found is not None:
                    return found, at + field.bitpos
        return None, 0

    def has(self, name):
        return self.member(self.type, name)[0] is not None

    def offset(self, path):
        return self.find(path)[0]

    def member_type(self, path):
        return self.find(path)[4]

    def load(self, address):
        return Record(self, read(address, self.size), 0, address)


class Record:
    """One object's bytes; record['path'] is the member as a number. Atomics, locks and enumerations are read like the number inside."""

    __slots__ = ("layout", "data", "start", "address")

    def __init__(self, layout, data, start, address):
        self.layout, self.data, self.start, self.address = layout, data, start, address

    def __getitem__(self, path):
        offset, size, bit, bits, _ = self.layout.find(path)
        begin = self.start + offset
        number = int.from_bytes(self.data[begin : begin + size], self.layout.order)
        return number >> bit & (1 << bits) - 1 if bits else number

    def raw(self, path):
        offset, size = self.layout.find(path)[:2]
        return self.data[self.start + offset : self.start + offset + size]

    def words(self, path, size):
        """An array of unsigned numbers of `size` bytes."""
        raw = self.raw(path)
        mark = "<" if self.layout.order == "little" else ">"
        return struct.unpack("%s%d%s" % (mark, len(raw) // size, {4: "I", 8: "Q"}[size]), raw)


def strip_atomic(kind):
    """T of an Atomic<T>."""
    kind = kind.strip_typedefs()
    return kind.template_argument(0).strip_typedefs() if kind.name and kind.name.startswith("std::atomic<") else kind


def pointee(kind):
    return strip_atomic(kind).target().strip_typedefs()


def element(kind):
    """(type, count) of what an array holds, whatever its dimensions."""
    count = 1
    kind = kind.strip_typedefs()
    while kind.code == gdb.TYPE_CODE_ARRAY:
        low, high = kind.range()
        count *= high - low + 1
        kind = kind.target().strip_typedefs()
    return kind, count


# ---- symbols ----


def variables():
    """The names of all variables of the namespace mpmm with debug information."""
    text = gdb.execute("info variables -q -n ^mpmm::", to_string=True)
    found = set()
    for line in text.splitlines():
        match = re.match(r"\d+:\s+(.*?)(?:\[\d+\])*;$", line)
        if match:
            found.add(last_name(match.group(1)))
    return found


def last_name(declaration):
    """The name in 'static Type<A, B> mpmm::Name<C, D>::member': what begins behind the last space outside of brackets."""
    depth, place = 0, len(declaration)
    while place > 0:
        letter = declaration[place - 1]
        depth += letter in ">)"
        depth -= letter in "<("
        if depth == 0 and letter in " *&":
            break
        place -= 1
    return declaration[place:]


def symbol_in(objfile, name):
    for lookup in (objfile.lookup_static_symbol, objfile.lookup_global_symbol):
        symbol = lookup(name)
        if symbol is not None and symbol.symtab is not None and symbol.symtab.objfile == objfile:
            return symbol
    return None


def constant(symbol):
    return int(symbol.value())


# ---- maps, sections, threads ----


def is_core():
    connection = getattr(gdb.selected_inferior(), "connection", None)
    if connection is not None:
        return connection.type == "core"
    return "core file" in gdb.execute("info files", to_string=True).lower()


def sections():
    """(object file, begin, end, name, flags) of all sections in memory; those of a core file, its mappings, have no object file."""
    # gdb 9 and earlier spell the option in capitals.
    try:
        text = gdb.execute("maintenance info sections -all-objects", to_string=True)
    except gdb.error:
        text = gdb.execute("maintenance info sections ALLOBJ", to_string=True)
    name = None
    for line in text.splitlines():
        if "file: `" in line:
            name = line[line.index("`") + 1 : line.rindex("'")]
            if line.lstrip().startswith("Core"):
                name = None
        elif line.startswith("Core file"):
            name = None
        else:
            match = re.match(r"\s*\[\d+\]\s+0x([0-9a-f]+)->0x([0-9a-f]+) at 0x[0-9a-f]+: (\S+)\s*(.*)", line)
            if match:
                yield name, int(match.group(1), 16), int(match.group(2), 16), match.group(3), match.group(4).split()


def mappings():
    """[(begin, end)] of the process's memory, in order; what lies side by side is one."""
    found = []
    if is_core():
        found = [(begin, end) for name, begin, end, _, flags in sections() if name is None and "ALLOC" in flags]
    else:
        try:
            text = gdb.execute("info proc mappings", to_string=True)
        except gdb.error:
            text = ""
        for match in re.finditer(r"^\s*0x([0-9a-f]+)\s+0x([0-9a-f]+)\s+0x", text, re.MULTILINE):
            found.append((int(match.group(1), 16), int(match.group(2), 16)))
    return sorted(found)


def mapping_of(maps, address):
    for begin, end in maps:
        if begin <= address < end:
            return begin, end
    return None


class EachThread:
    """for thread in EachThread(): …; each is the selected one meanwhile, and afterwards the user's is again, with his frame."""

    def __iter__(self):
        thread = gdb.selected_thread()
        frame = None
        try:
            frame = gdb.selected_frame() if thread is not None else None
        except gdb.error:
            pass
        try:
            for each in sorted(gdb.selected_inferior().threads(), key=lambda t: t.num):
                try:
                    each.switch()
                except gdb.error:
                    continue
                yield each
        finally:
            if thread is not None and thread.is_valid():
                thread.switch()
                if frame is not None and frame.is_valid():
                    frame.select()


def thread_title(thread):
    lwp = thread.ptid[1]
    name = ' "%s"' % thread.name if thread.name else ""
    return "thread %d%s%s" % (thread.num, name, " (LWP %d)" % lwp if lwp else "")


# ---- code ----


def function_at(pc):
    """The function's name, with those it was inlined into."""
    names = []
    try:
        block = gdb.block_for_pc(pc)
    except (gdb.error, RuntimeError):
        block = None
    while block is not None:
        if block.function is not None:
            names.append(block.function.print_name)
        if block.is_global or block.is_static:
            break
        block = block.superblock
    if names:
        return names[0] + "".join(" [inlined into %s]" % name for name in names[1:])
    text = gdb.execute("info symbol 0x%x" % pc, to_string=True)
    match = re.match(r"(.+?)(?: \+ \d+)? in section ", text)
    return match.group(1) if match else ""


def code_at(pc):
    """Where a return address is, as reports have it."""
    before = pc - 1
    text = "0x%x" % pc
    function = function_at(before)
    if function:
        text += " in " + function
    place = gdb.find_pc_line(before)
    if place.symtab is not None and place.line != 0:
        return text + " %s:%d" % (place.symtab.filename, place.line)
    library = gdb.current_progspace().solib_name(before) or gdb.current_progspace().filename
    return text + " (%s)" % os.path.basename(library) if library else text
