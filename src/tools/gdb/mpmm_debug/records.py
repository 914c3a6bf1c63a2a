# SPDX-License-Identifier: Apache-2.0
# Which block an address belongs to, and what verify remembers of it: record, call stacks, threads, guarded blocks, quarantine
# (src/verify/alloc_record.hpp, stack_depot.cpp, threads.cpp, guarded.cpp, quarantine.cpp). In release the records are missing: a block is
# what the size class gives, live or free.

import gdb

from . import target
from .target import Layout, Problem

BLOCK_STATES = ["unused", "busy", "live", "quarantined", "freed", "live", "quarantined"]  # the last two while a check looks
LIVE, QUARANTINED, FREED = 2, 3, 4
FAMILIES = ["malloc", "operator new", "operator new[]", "operator new with alignment", "operator new[] with alignment"]
FREED_LARGE_COUNT = 64


class Place:
    """A block and what is known of it."""

    def __init__(self, state, user, size, low, high):
        self.state, self.user, self.size, self.low, self.high = state, user, size, low, high
        self.slab = self.index = self.run = self.record = None
        self.guarded = False


class Records:
    """The verify side of a heap."""

    def __init__(self, heap, names):
        self.heap, self.names = heap, names
        record = heap.block_layout.member_type("record.allocations")
        self.layout = Layout(target.pointee(record))
        self.state_offset = self.layout.offset("state")
        self.guard = Guarded(self)
        self.loaded = {}

    def value(self, name):
        symbol = target.symbol_in(self.heap.objfile, name)
        return symbol.value() if symbol is not None else None

    def front_value(self, member):
        """A static member of the front's. How many spaces are between its brackets depends on gdb."""
        prefix = "mpmm::CheckedFront<%s" % self.heap.name[: -len("::shared")]
        for name in self.names:
            if name.startswith(prefix) and name.endswith(">::" + member):
                return self.value(name)
        return None

    def number(self, name):
        value = self.value(name)
        if value is None:
            return 0
        size = value.type.strip_typedefs().sizeof
        return int.from_bytes(target.read(int(value.address), size), self.heap.order)

    def of_slab(self, slab):
        """The bytes of all records of a block allocator. Intrusive ones have none; when they cannot be read, that is told."""
        if slab.address not in self.loaded and slab.records:
            try:
                self.loaded[slab.address] = target.read(slab.records, slab.blocks * self.layout.size)
            except Problem as problem:
                self.heap.problems.append("the records of the block allocator 0x%x: %s" % (slab.address, problem))
                slab.records = 0
        return self.loaded.get(slab.address, b"")

    def states(self, slab):
        """A byte a block."""
        return self.of_slab(slab)[self.state_offset :: self.layout.size]

    def live(self, slab):
        """The blocks the program holds, as a bitmap."""
        states = self.states(slab)
        if not states:
            return slab.used
        return int(bytes(49 if s == LIVE else 48 for s in reversed(states)), 2) & slab.mask

    def record(self, slab, index):
        if not self.of_slab(slab):
            return None
        start = index * self.layout.size
        return target.Record(self.layout, self.of_slab(slab), start, slab.records + start)

    def run_record(self, run):
        return self.layout.load(run.record)

    def place_in_slab(self, slab, index):
        record = self.record(slab, index)
        low = slab.base + index * slab.size
        return self.place(record, low, low + slab.size)

    def place(self, record, low, high):
        front, size, state = 1 << record["front_shift"], record["size"], record["state"]
        place = Place(BLOCK_STATES[state] if state < len(BLOCK_STATES) else "damaged", low + front, size, low, high)
        if state != 0 and front + size > high - low:
            # What it says is not to be believed: the heap's block then.
            place = Place("damaged", low, high - low, low, high)
        place.record = record
        return place

    # ---- stacks and threads ----

    def stack(self, number):
        """Return addresses, innermost first."""
        if number == 0:
            return []
        name = "mpmm::stack_depot::(anonymous namespace)::"
        segments = self.value(name + "segments")
        if segments is None:
            return []
        units = 256 * 1024 // 8
        constant = self.value(name + "segment_units")
        if constant is not None and not constant.is_optimized_out:
            units = int(constant)
        word = self.heap.geometry.pointer
        segment = int.from_bytes(target.read(int(segments.address) + number // units * word, word), self.heap.order)
        if segment == 0:
            raise Problem("stack %d is not in the stack depot" % number)
        entry = segment + number % units * 8
        count = int.from_bytes(target.read(entry + 8, 4), self.heap.order)
        if count > 64:
            raise Problem("stack %d of the stack depot is damaged" % number)
        raw = target.read(entry + 16, count * word)
        return [int.from_bytes(raw[i : i + word], self.heap.order) for i in range(0, len(raw), word)]

    def thread(self, number):
        """'T1 (name)': the name of a thread that ended is in its record, that of a living one is gdb's to tell."""
        threads = self.value("mpmm::verify_threads::(anonymous namespace)::threads")
        if threads is None:
            return "T%d" % number
        layout = Layout(target.element(threads.type)[0])
        record = layout.load(int(threads.address) + number * layout.size)
        name, lwp = record.raw("name").split(b"\0")[0].decode(errors="replace"), record["id"]
        if lwp:
            for thread in gdb.selected_inferior().threads():
                if thread.ptid[1] == lwp:
                    return "T%d (%s)" % (number, target.thread_title(thread))
        return "T%d (%s)" % (number, name) if name else "T%d" % number

    # ---- what left ----

    def quarantine(self):
        name = "mpmm::quarantine::(anonymous namespace)::"
        return self.number(name + "all_blocks"), self.number(name + "all_bytes")

    def freed_large(self, address):
        """The facts of a large block that was freed lately and began here, or whose bytes the address was among."""
        value = self.front_value("freed_large_")
        if value is None:
            return None
        layout = Layout(target.element(value.type)[0])
        data = target.read(int(value.address), layout.size * FREED_LARGE_COUNT)
        newest = None
        for i in range(FREED_LARGE_COUNT):
            freed = target.Record(layout, data, i * layout.size, 0)
            if freed["user"] and freed["user"] <= address < freed["user"] + max(freed["facts.size"], 1):
                if newest is None or freed["facts.sequence"] > newest["facts.sequence"]:
                    newest = freed
        return newest


class Guarded:
    """Guarded blocks: pages between inaccessible ones."""

    def __init__(self, records):
        self.records = records
        name = "mpmm::guarded::(anonymous namespace)::"
        read = records.number
        self.region, self.page = read(name + "region"), read(name + "page")
        self.pages, self.page_slots = read(name + "region_pages"), read(name + "page_slots")
        self.count, self.slots = read(name + "used_slots"), read(name + "slots")
        self.live = read(name + "live_blocks"), read(name + "live_bytes")
        pointer = records.value(name + "slots")
        self.layout = Layout(pointer.type.strip_typedefs().target()) if pointer is not None else None

    def contains(self, address):
        return self.region != 0 and self.region <= address < self.region + self.pages * self.page

    def place(self, slot):
        address = self.slots + slot * self.layout.size
        return self.place_of(self.layout.load(address))

    def place_of(self, slot):
        record = target.Record(self.records.layout, slot.data, slot.start + self.layout.offset("record"), slot.address)
        low = self.region + slot["first"] * self.page
        high = low + slot["pages"] * self.page
        state = record["state"]
        state = BLOCK_STATES[state] if state < len(BLOCK_STATES) else "damaged"
        place = Place(state, slot["user"], record["size"], low, high)
        if not low <= place.user <= high or place.size > high - place.user:
            place = Place("damaged", low, high - low, low, high)
        place.record, place.guarded = record, True
        return place

    def all(self):
        """Every block there is or was, as far as its slot was not used again."""
        data = target.read(self.slots, (self.count + 1) * self.layout.size) if self.count else b""
        for number in range(1, self.count + 1 if data else 1):
            yield self.place_of(target.Record(self.layout, data, number * self.layout.size, 0))

    def find(self, address):
        """The block at the address or, on a guard page, the nearest one."""
        number = (address - self.region) // self.page
        last = min(number + 2, self.pages)
        raw = target.read(self.page_slots + number * 4, (last - number) * 4)
        slots = {int.from_bytes(raw[i : i + 4], self.records.heap.order) for i in range(0, len(raw), 4)} - {0}
        places = [self.place(slot) for slot in slots]
        return min(places, key=lambda p: distance(p, address), default=None)


def distance(place, address):
    if address < place.user:
        return place.user - address
    return max(address - place.user - place.size + 1, 0)


def find(heap, records, address):
    """(place or None, what there is otherwise)"""
    if records is not None and records.guard.contains(address):
        place = records.guard.find(address)
        return place, "is among the pages for guarded blocks, and was none's yet"
    chunk = heap.chunks.get(address >> heap.geometry.shift)
    if chunk is None:
        return find_run(heap, records, address)
    slot = chunk.slot_of(address)
    slab = chunk.slabs.get(slot)
    if slab is None:
        return None, "is in slot %d of the chunk at 0x%x, which no block allocator uses" % (slot, chunk.base)
    index = slab.index(address)
    if chunk.intrusive and slab.address <= address < slab.address + heap.block_layout.size:
        return None, "is in the header of the block allocator 0x%x (see 'mpmm slab')" % slab.address
    if not 0 <= index < slab.blocks or slab.reserved >> index & 1:
        return None, "is in the unused tail of the block allocator 0x%x (see 'mpmm slab')" % slab.address
    bit = 1 << index
    low = slab.base + index * slab.size
    if slab.free & bit:
        state = "free"
    elif slab.remote & bit:
        state = "freed by another thread"
    elif slab.combining & bit:
        state = "freed, in a thread's combining buffer"
    else:
        state = "live"
    place = Place(state, low, slab.size, low, low + slab.size)
    if records is not None and records.of_slab(slab):
        recorded = records.place_in_slab(slab, index)
        if recorded.state != "unused":
            place = recorded
        elif state == "live":
            place.state = "free to the program, the heap's own"
    place.slab, place.index = slab, index
    return place, None


def find_run(heap, records, address):
    for run in heap.runs:
        if not run.base <= address < run.base + run.bytes:
            continue
        if not run.is_used:
            return None, "is in a free run of %d chunks at 0x%x" % (run.chunks, run.base)
        if address >= run.base + run.size:
            return None, "is behind the large block of %d bytes at 0x%x" % (run.size, run.base)
        place = Place("live", run.base, run.size, run.base, run.base + run.size)
        if records is not None:
            place = records.place(records.run_record(run), run.base, run.base + run.size)
        place.run = run
        return place, None
    for chunk in heap.chunks.values():
        if chunk.begin <= address < chunk.end:
            first = chunk.address + heap.chunk_layout.size
            slot = (address - first) // heap.block_layout.size
            if not chunk.intrusive and slot >= 0:
                return None, "is in the block allocator 0x%x itself (see 'mpmm slab')" % (first + slot * heap.block_layout.size)
            return None, "is in the record of the chunk at 0x%x" % chunk.base
    for cache in heap.caches.values():
        if cache.address <= address < cache.address + heap.cache_layout.size:
            return None, "is in the thread cache 0x%x" % cache.address
    return None, None


def find_slab(heap, address):
    """The block allocator at an address: its own, or that of a block of its."""
    chunk = heap.chunks.get(address >> heap.geometry.shift)
    if chunk is not None:
        return chunk.slabs.get(chunk.slot_of(address)), chunk
    for chunk in heap.chunks.values():
        if not chunk.intrusive and chunk.begin <= address < chunk.end:
            first = chunk.address + heap.chunk_layout.size
            slot = (address - first) // heap.block_layout.size
            if slot >= 0:
                return chunk.slabs.get(slot), chunk
    return None, None


def records_of(heap, names):
    return Records(heap, names) if heap.geometry.verify else None

