# SPDX-License-Identifier: Apache-2.0
# The heap of the process, read once per command:
#
#     chunk map ──► SlotChunk ──► block allocators (Slab here)      from src/chunkmap, src/block
#               ──► Run                                             large blocks and free runs, src/largecache
#     registry  ──► ThreadCache: bins, lists, combining buffer      src/tcache
#
# Everything is found through the chunk map, which has no lists that could be broken, and nothing in the process is called.

import re

import gdb

from . import target
from .target import Layout, Problem

STATES = ["active", "full", "queued", "checked", "orphan", "unused", "foreign", "large_used", "large_free", "intrusive"]
ORPHAN, UNUSED, FOREIGN, LARGE_USED, LARGE_FREE, INTRUSIVE = range(4, 10)
TENANT_ALIGNMENT = 128
NO_SLOTS = 63

if hasattr(int, "bit_count"):
    ones = int.bit_count
else:

    def ones(number):
        return bin(number).count("1")


def state_of(owner_word):
    return UNUSED if owner_word == 0 else owner_word & 15


def bits_of(number):
    """The indices of its ones, ascending."""
    while number:
        low = number & -number
        yield low.bit_length() - 1
        number ^= low


class Geometry:
    def __init__(self, name):
        match = re.search(r"Geometry<(\d+)[a-zA-Z]*, (\d+)[a-zA-Z]*, (\d+)[a-zA-Z]*>, mpmm::(\w+), (\d+)", name)
        if match is None:
            raise Problem("cannot tell the geometry from the name " + name)
        self.page, self.line, self.pointer = (int(match.group(i)) for i in (1, 2, 3))
        self.verify = match.group(4) == "FullVerify"
        self.chunk = self.page * self.line * 8
        self.shift = self.chunk.bit_length() - 1


class Slab:
    """A block allocator. The maps are numbers with one bit a block; bits without a block are cleared."""

    __slots__ = (
        "heap", "chunk", "address", "owner_word", "base", "size", "blocks", "class_index", "in_bin", "returned", "mask", "reserved",
        "free", "remote", "combining", "records", "clean", "idle", "held", "unmarked",
    )  # fmt: skip

    def __init__(self, heap, chunk, record):
        self.heap, self.chunk, self.address = heap, chunk, record.address
        self.owner_word, self.base, self.size, self.blocks = (record[p] for p in ("owner_word", "base", "size", "blocks"))
        self.class_index, self.in_bin, self.returned = record["class_index"], record["in_bin"], record["returned"]
        count = record["reserved_count"]
        self.reserved = ((1 << count) - 1) << record["reserved_first"]
        self.mask = ((1 << self.blocks) - 1) & ~self.reserved
        self.free = heap.bitmap(record.raw("free_map")) & self.mask
        self.remote = heap.bitmap(record.raw("remote_map")) & self.mask
        self.combining = heap.combining.get(self.address, 0) & self.mask & ~self.free & ~self.remote
        self.clean, self.idle = record["clean_units"], record["idle_units"]
        self.records = record["record.allocations"] if heap.geometry.verify else 0
        self.held = heap.bitmap(record.raw("record.live")) & self.mask if heap.geometry.verify else None
        self.unmarked = 0

    @property
    def state(self):
        return state_of(self.owner_word)

    @property
    def used(self):
        """Blocks that the heap handed out."""
        return self.mask & ~self.free & ~self.remote & ~self.combining

    def index(self, address):
        """The block's number; blocks or more in the tail, and negative before the slot."""
        return (address - self.base) // self.size

    def unused_memory(self):
        """Bytes of whole units without a used block that may still be in memory: what a purge would return."""
        page = self.heap.geometry.page
        if self.size >= page:
            return ones(self.free & ~self.clean) * self.size
        used = self.mask & ~self.free | self.reserved
        total = 0
        for unit, mask in enumerate(self.heap.page_masks(self.size, self.blocks)):
            if not used & mask and not self.clean >> unit & 1:
                total += page
        return total


class Chunk:
    """A chunk cut into slots, and its block allocators by slot number."""

    def __init__(self, heap, record):
        self.heap, self.address = heap, record.address
        self.base, self.slots, self.slot_shift = record["extent.base"], record["slots"], record["slot_shift"]
        self.intrusive = record["intrusive"] != 0
        if self.slots << self.slot_shift != heap.geometry.chunk or self.base % heap.geometry.chunk:
            raise Problem("the record of a chunk at 0x%x is damaged" % self.address)
        bytes_ = (self.slots + 63) // 64 * 8
        self.begin = min(record["free_bits"], self.address)
        bits = target.read(record["free_bits"], 2 * bytes_)
        self.free_bits = heap.bitmap(bits[:bytes_])
        self.dirty_bits = heap.bitmap(bits[bytes_:])
        self.slabs = {}
        layout = heap.block_layout
        self.end = self.address + heap.chunk_layout.size + (0 if self.intrusive else self.slots * layout.size)
        used = ((1 << self.slots) - 1) & ~self.free_bits
        if not self.intrusive:
            first = self.address + heap.chunk_layout.size
            top = used.bit_length()
            data = target.read(first, top * layout.size)
            for slot in bits_of(used):
                start = slot * layout.size
                self.add(slot, target.Record(layout, data, start, first + start))
            return
        for slot in bits_of(used):
            self.add(slot, layout.load(self.header(self.base + (slot << self.slot_shift))))

    def add(self, slot, record):
        """A block allocator that makes no sense is told of, and left out."""
        slab, heap = Slab(self.heap, self, record), self.heap
        start, size = self.base + (slot << self.slot_shift), 1 << self.slot_shift
        fits = slab.base == start and 0 < slab.blocks * slab.size <= size
        if not fits or slab.class_index >= heap.classes or slab.size != heap.size_of(slab.class_index):
            what = "%d blocks of %d bytes (size class %d) at 0x%x" % (slab.blocks, slab.size, slab.class_index, slab.base)
            heap.problems.append("the block allocator 0x%x of the slot at 0x%x is damaged: %s" % (slab.address, start, what))
            return
        self.slabs[slot] = slab
        if slab.free & slab.remote:
            heap.problems.append("the block allocator 0x%x has blocks that are free twice" % slab.address)
        if slab.state > ORPHAN:
            heap.problems.append("the block allocator 0x%x has the owner word 0x%x" % (slab.address, slab.owner_word))

    def header(self, slot):
        """intrusive_header() of src/block/tenant_map.hpp"""
        colours = (1 << self.slot_shift - 1) - TENANT_ALIGNMENT
        return slot + ((slot >> self.slot_shift) * (5 * TENANT_ALIGNMENT) & colours)

    def slot_of(self, address):
        return (address - self.base) >> self.slot_shift


class Run:
    """Chunks in a row: a large block, or free."""

    def __init__(self, heap, record):
        self.address, self.base, self.chunks = record.address, record["extent.base"], record["extent.chunks"]
        self.size, self.clean, self.huge = record["size"], record["extent.clean"] != 0, record["huge"] != 0
        self.bytes = self.chunks * heap.geometry.chunk
        self.state = state_of(record["owner_word"])
        fits = self.size <= min(self.bytes, heap.shared["backend.mapped_"]) and self.base + self.bytes <= 1 << 8 * heap.geometry.pointer
        if self.base % heap.geometry.chunk or not self.base or not fits:
            raise Problem("the run 0x%x is damaged: %d chunks at 0x%x for %d bytes" % (self.address, self.chunks, self.base, self.size))
        self.record = self.address + heap.run_layout.offset("record") if heap.geometry.verify else 0

    @property
    def is_used(self):
        return self.state == LARGE_USED


class Cache:
    """A thread cache: what it has in its lists, as addresses of block allocators."""

    def __init__(self, heap, record):
        self.heap, self.address = heap, record.address
        self.alive = record["alive"] != 0
        self.recovered_head = record["recovered"]
        word = heap.geometry.pointer
        bins, bin_layout, offset = record.raw("bins_"), heap.bin_layout, heap.bin_layout.offset("current")
        self.bins = [
            int.from_bytes(bins[i + offset : i + offset + word], heap.order) for i in range(0, len(bins), bin_layout.size)
        ]
        heads = record.words("waiting_", word)
        self.waiting = heads[::2]
        self.combined = {}
        entries, layout = record.raw("combining_.table_"), heap.entry_layout
        for start in range(0, len(entries), layout.size):
            entry = target.Record(layout, entries, start, 0)
            key, mask = entry["key"], entry["mask"]
            if key and mask:
                words = heap.geometry.line // 8 - 1
                block = key & ~words
                self.combined[block] = self.combined.get(block, 0) | mask << 64 * (key & words)


class Heap:
    def __init__(self, objfile, name):
        self.objfile, self.name = objfile, name
        self.config = name[len("mpmm::Heap<") : -len(">::shared")].rstrip()
        self.geometry = Geometry(name)
        self.order = target.byte_order()
        shared = target.symbol_in(objfile, name).value()
        self.address = int(shared.address)
        self.shared_layout = Layout(shared.type)
        pools = self.shared_layout.member_type("pools")
        pool, _ = target.element(pools)
        self.chunk_layout = Layout(target.pointee(Layout(pool).member_type("all_")))
        large = Layout(self.shared_layout.member_type("large"))
        self.run_layout = Layout(target.pointee(large.member_type("spare_")))
        registry = target.symbol_in(objfile, name[: -len("shared")] + "registry_").value()
        self.registry_address = int(registry.address)
        self.registry_layout = Layout(registry.type)
        self.cache_layout = Layout(target.pointee(self.registry_layout.member_type("all_")))
        self.bin_layout = Layout(target.element(self.cache_layout.member_type("bins_"))[0])
        self.block_layout = Layout(target.pointee(self.bin_layout.member_type("current")))
        self.entry_layout = Layout(target.element(self.cache_layout.member_type("combining_.table_"))[0])
        self.classes = target.element(self.cache_layout.member_type("bins_"))[1]
        self.map_layout = Layout(self.shared_layout.member_type("map"))
        self.masks = {}
        self.problems = []
        self.load()

    def bitmap(self, raw):
        if self.order == "little":
            return int.from_bytes(raw, "little")
        return sum(int.from_bytes(raw[i : i + 8], "big") << 8 * i for i in range(0, len(raw), 8))

    def page_masks(self, size, blocks):
        """For each page that blocks of this size lie on, which of them do."""
        key = size, blocks
        if key not in self.masks:
            page, masks = self.geometry.page, []
            for begin in range(0, size * blocks if size * blocks >= page else 0, page):
                first, last = begin // size, min((begin + page - 1) // size, blocks - 1)
                masks.append((1 << last + 1) - (1 << first))
            self.masks[key] = masks
        return self.masks[key]

    def load(self):
        self.shared = self.shared_layout.load(self.address)
        self.caches, self.combining = {}, {}
        address = self.registry_layout.load(self.registry_address)["all_"]
        while address and address not in self.caches:
            try:
                record = self.cache_layout.load(address)
            except Problem as problem:
                self.problems.append("the list of thread caches is broken: %s" % problem)
                break
            cache = self.caches[address] = Cache(self, record)
            for block, mask in cache.combined.items():
                self.combining[block] = self.combining.get(block, 0) | mask
            address = record["next_all"]
        self.chunks, self.runs, seen = {}, [], set()
        for number, entry in self.map_entries():
            try:
                self.add_entry(number, entry, seen)
            except Problem as problem:
                self.problems.append("chunk 0x%x: %s" % (number << self.geometry.shift, problem))

    def add_entry(self, number, entry, seen):
        base = number << self.geometry.shift
        if entry & 63 != NO_SLOTS:
            first = (entry + (base >> (entry & 63)) * self.block_layout.size & (1 << 8 * self.geometry.pointer) - 1) & -TENANT_ALIGNMENT
            self.chunks[number] = Chunk(self, self.chunk_layout.load(first - self.chunk_layout.size))
            return
        tenant = entry & -TENANT_ALIGNMENT
        if tenant in seen:
            return
        seen.add(tenant)
        state = state_of(int.from_bytes(target.read(tenant, self.geometry.pointer), self.order))
        if state == INTRUSIVE:
            self.chunks[number] = Chunk(self, self.chunk_layout.load(tenant))
        elif state in (LARGE_USED, LARGE_FREE):
            self.runs.append(Run(self, self.run_layout.load(tenant)))
        elif state != FOREIGN:
            raise Problem("its tenant at 0x%x has the state %s" % (tenant, STATES[state] if state < len(STATES) else state))

    def map_entries(self):
        """(chunk number, entry) for every chunk that is somebody's."""
        word = self.geometry.pointer
        start = self.address + self.shared_layout.offset("map")
        record = target.Record(self.map_layout, self.shared.raw("map"), 0, start)
        if not self.map_layout.has("root_"):
            yield from ((i, entry) for i, entry in enumerate(record.words("entries_", word)) if entry)
            return
        none_mid = start + self.map_layout.offset("none_mid_")
        none_leaf = record.words("none_mid_", word)[0]
        count = self.map_layout.find("none_mid_")[1] // word
        none = int.from_bytes(target.read(none_leaf, word), self.order)

        def numbers(address):
            try:
                return memoryview(target.read(address, count * word)).cast("Q" if word == 8 else "I")
            except Problem as problem:
                self.problems.append("the chunk map is broken: %s" % problem)
                return ()

        for r, distance in enumerate(record.words("root_", word)):
            if not distance:
                continue
            mid = none_mid + distance & (1 << 8 * word) - 1
            for m, leaf in enumerate(numbers(mid)):
                if leaf == none_leaf:
                    continue
                for i, entry in enumerate(numbers(leaf)):
                    if entry != none:
                        yield (r * count + m) * count + i, entry

    def slabs(self):
        for chunk in self.chunks.values():
            yield from chunk.slabs.values()

    def size_of(self, index):
        if index < 9:
            return 8 if index == 0 else index * 16
        return (9 + (index - 9) % 8) * (16 << (index - 9) // 8)

    def follow(self, head, link="next"):
        """The addresses in a list of block allocators. Stops where the list is broken."""
        seen, offset = [], self.block_layout.offset(link)
        known = set()
        while head and head not in known:
            seen.append(head)
            known.add(head)
            try:
                head = int.from_bytes(target.read(head + offset, self.geometry.pointer), self.order)
            except Problem:
                break
        return seen

    def orphan_heads(self):
        layout = Layout(target.element(self.shared_layout.member_type("orphans"))[0])
        raw = self.shared.raw("orphans")
        return [target.Record(layout, raw, start, 0)["head_"] for start in range(0, len(raw), layout.size)]

    def cache_threads(self):
        """The threads of the caches, as far as gdb can read thread-local variables here."""
        name = "mpmm::ThreadSlot<mpmm::ThreadCache<%s> >::current" % self.config
        owners = {}
        symbol = target.symbol_in(self.objfile, name)
        if symbol is None:
            return owners
        for thread in target.EachThread():
            try:
                owners[int(symbol.value(gdb.newest_frame()))] = target.thread_title(thread)
            except (gdb.error, TypeError):
                continue
        return owners


def find_all(names):
    """Every MPMM heap of the process; there is one unless it was linked with one library and preloads another."""
    heaps = []
    for objfile in gdb.objfiles():
        for name in sorted(n for n in names if n.startswith("mpmm::Heap<") and n.endswith(">::shared")):
            if target.symbol_in(objfile, name) is not None:
                heaps.append(Heap(objfile, name))
    if heaps:
        return heaps
    if re.search(r"\bmpmm_version\b", gdb.execute("info functions -q ^mpmm_version$", to_string=True)):
        raise Problem("MPMM is in this process, but its debug information is not: is the library stripped? (see add-symbol-file)")
    raise Problem("there is no MPMM in this process")

