# SPDX-License-Identifier: Apache-2.0
# Blocks that nothing points to. Whatever looks like an address of a block, at any place in it, keeps the block alive; blocks are reached
# from global variables, registers, the used part of every thread's stack, and thread-local memory. What no root reaches leaked: directly,
# or indirectly when another leaked block points to it.
#
# Memory is read a block allocator at a time, and everything that waits to be looked at in it is looked at then.

import os

import gdb

from . import records as blocks
from . import target
from .heap import Problem, bits_of

CACHE_BYTES = 64 << 20
SPARSE = 16  # so many times more memory than blocks to look at: read them one by one
RED_ZONE = 128  # below the stack pointer, may be used without moving it
EARLY_BYTES = 64 << 10  # what the dynamic linker took for itself around the first thread's control block
THREAD_BLOCK_BYTES = 4096  # at least the C library's own description of a thread


class Large:
    """A large or guarded block."""

    def __init__(self, user, size, record):
        self.user, self.size, self.record = user, size, record
        self.unmarked = 1


class Search:
    def __init__(self, heap, records):
        self.heap, self.records = heap, records
        self.shift = heap.geometry.shift
        self.word = heap.geometry.pointer
        self.code = "Q" if self.word == 8 else "I"
        self.memory, self.memory_bytes = {}, 0
        self.pending = {}
        self.large = {}  # chunk number → Large
        self.guarded = {}  # page number → Large
        self.others = []
        self.prepare()

    def prepare(self):
        for slab in self.heap.slabs():
            slab.unmarked = slab.used if self.records is None else slab.used & self.records.live(slab)
        for run in self.heap.runs:
            if not run.is_used:
                continue
            block = Large(run.base, run.size, None)
            if self.records is not None:
                place = self.records.place(self.records.run_record(run), run.base, run.base + run.size)
                if place.state != "live":
                    continue
                block = Large(place.user, place.size, place.record)
            self.others.append(block)
            for number in range(run.base >> self.shift, ((run.base + run.size - 1) >> self.shift) + 1):
                self.large[number] = block
        if self.records is not None:
            guard = self.records.guard
            for place in guard.all():
                if place.state != "live":
                    continue
                block = Large(place.user, place.size, place.record)
                self.others.append(block)
                for number in range(place.low // guard.page, place.high // guard.page):
                    self.guarded[number] = block
        numbers = set(self.heap.chunks) | set(self.large)
        if self.guarded:
            # Pages, seen as chunks: the exact look-up comes later.
            pages = self.shift - (self.records.guard.page.bit_length() - 1)
            numbers |= {number >> pages for number in self.guarded}
        self.numbers = numbers

    # ---- blocks ----

    def extent(self, slab, index):
        """(first, size) of what the program has of a block. A damaged record makes it the whole block."""
        low = slab.base + index * slab.size
        if slab.records:
            record = self.records.record(slab, index)
            front, size = 1 << record["front_shift"], record["size"]
            if front + size <= slab.size:
                return low + front, size
        return low, slab.size

    def lookup(self, address):
        """(holder, index) of the unmarked block the address points into, or None."""
        number = address >> self.shift
        chunk = self.heap.chunks.get(number)
        if chunk is not None:
            slab = chunk.slabs.get(chunk.slot_of(address))
            if slab is None:
                return None
            index = (address - slab.base) // slab.size
            if not slab.unmarked >> index & 1:
                return None
            if slab.records:
                first, size = self.extent(slab, index)
                if not first <= address < first + max(size, 1):
                    return None
            return slab, index
        block = self.large.get(number)
        if block is None and self.guarded:
            block = self.guarded.get(address // self.records.guard.page)
        if block is None or not block.unmarked or not block.user <= address < block.user + max(block.size, 1):
            return None
        return block, 0

    def candidates(self, words):
        shift, numbers = self.shift, self.numbers
        return {word for word in words if word >> shift in numbers}

    def mark(self, words):
        for address in self.candidates(words):
            found = self.lookup(address)
            if found is not None:
                holder, index = found
                holder.unmarked &= ~(1 << index)
                self.pending.setdefault(holder, []).append(index)

    def words_in(self, data, address):
        """The aligned words of memory that begins at `address`."""
        skip = -address % self.word
        end = skip + (len(data) - skip) // self.word * self.word
        return memoryview(data)[skip:end].cast(self.code) if end > skip else ()

    def scan(self, begin, end):
        for address, data in target.read_pieces(begin, end):
            self.mark(self.words_in(data, address))

    # ---- the content of blocks ----

    def slab_memory(self, slab):
        data = self.memory.get(slab.address)
        if data is None:
            size = slab.blocks * slab.size
            try:
                data = target.read(slab.base, size)
            except Problem:
                parts = bytearray(size)
                for address, piece in target.read_pieces(slab.base, slab.base + size):
                    parts[address - slab.base : address - slab.base + len(piece)] = piece
                data = bytes(parts)
            if self.memory_bytes + size > CACHE_BYTES:
                self.memory, self.memory_bytes = {}, 0
            self.memory[slab.address] = data
            self.memory_bytes += size
        return data

    def content(self, holder, indices):
        """(index, words) of each block, huge ones in pieces."""
        if isinstance(holder, Large):
            for address, data in target.read_pieces(holder.user, holder.user + holder.size):
                yield 0, self.words_in(data, address)
            return
        if len(indices) * SPARSE < holder.blocks and holder.address not in self.memory:
            for index in indices:
                first, size = self.extent(holder, index)
                for address, data in target.read_pieces(first, first + size):
                    yield index, self.words_in(data, address)
            return
        whole, base = self.slab_memory(holder), holder.base
        for index in indices:
            first, size = self.extent(holder, index)
            yield index, self.words_in(whole[first - base : first - base + size], first)

    def drain(self):
        while self.pending:
            holder, indices = self.pending.popitem()
            for _, words in self.content(holder, indices):
                self.mark(words)

    # ---- roots ----

    def own(self):
        """Memory of the allocator's in which addresses of blocks are no references."""
        heap, own = self.heap, [(self.heap.address, self.heap.address + self.heap.shared_layout.size)]
        own += [(chunk.begin, chunk.end) for chunk in heap.chunks.values()]
        own += [(cache, cache + heap.cache_layout.size) for cache in heap.caches]
        own += [(run.address, run.address + heap.run_layout.size) for run in heap.runs]
        own += [(number << self.shift, number + 1 << self.shift) for number in set(heap.chunks) | set(self.large)]
        if self.records is not None:
            value = self.records.front_value("freed_large_")
            if value is not None:
                own.append((int(value.address), int(value.address) + value.type.sizeof))
        return sorted(own)

    def roots(self):
        """[(begin, end)], without the heap's own; and registers as words."""
        ranges, tls_bytes, registers = [], 0, []
        modules = {}
        for name, begin, end, section, flags in target.sections():
            if name is not None and "ALLOC" in flags and begin != 0:
                low, high = modules.get(name, (begin, end))
                modules[name] = min(low, begin), max(high, end)
            if name is None or "ALLOC" not in flags or "READONLY" in flags or "CODE" in flags or begin == 0:
                continue
            if section in (".tdata", ".tbss"):
                tls_bytes += end - begin
            else:
                # The dynamic linker's own early memory is the rest of its last page.
                ranges.append((begin, -(-end // 4096) * 4096))
        self.modules = [(os.path.basename(name), *extent) for name, extent in modules.items()]
        maps = target.mappings()
        threads = 0
        for thread in target.EachThread():
            threads += 1
            frame = gdb.newest_frame()
            values = {}
            for register in frame.architecture().registers("general"):
                try:
                    values[register.name] = int(frame.read_register(register.name)) & (1 << 8 * self.word) - 1
                except (gdb.error, ValueError):
                    continue
            registers += values.values()
            stack = self.register(frame, "sp")
            around = target.mapping_of(maps, stack)
            if around is not None:
                ranges.append((max(stack - RED_ZONE, around[0]), around[1]))
            pointer = next((values[r] for r in ("fs_base", "tpidr", "tpidr_el0") if values.get(r)), self.register(frame, "fs_base"))
            around = target.mapping_of(maps, pointer) if pointer else None
            if around is not None:
                before = 2 * tls_bytes + (EARLY_BYTES if thread.num == 1 else THREAD_BLOCK_BYTES)
                behind = before if thread.num == 1 else THREAD_BLOCK_BYTES + 2 * tls_bytes
                ranges.append((max(pointer - before, around[0]), min(pointer + behind, around[1])))
        return subtract(merge(ranges), self.own()), registers, threads

    def register(self, frame, name):
        try:
            return int(frame.read_register(name)) & (1 << 8 * self.word) - 1
        except (gdb.error, ValueError):
            return 0

    def kept_threads(self, ranges):
        """The tables of thread-local memory of threads that ended. The C library keeps their stacks for the next threads, and the tables,
        which came from malloc, with them; its list of them begins in a global variable. The list's members lie in the C library's
        description of a thread, which begins with its own address, on x86."""
        tables, seen = [], set()
        left = []
        maps = target.mappings()
        for begin, end in ranges:
            if any("ld-" in name or "libc" in name for name in self.modules_at(begin)):
                for address, data in target.read_pieces(begin, end):
                    left += self.words_in(data, address)
        while left:
            word = left.pop()
            around = target.mapping_of(maps, word)
            # Where the modules are, there are no stacks.
            if word % 8 or around is None or word >> self.shift in self.numbers or self.modules_at(word):
                continue
            for start in range(word & -64, max(word - THREAD_BLOCK_BYTES, around[0]), -64):
                if start in seen:
                    break
                try:
                    head = target.read(start, 3 * self.word)
                except Problem:
                    break
                own, table, again = self.words_in(head, start)
                if own == start and again == start:
                    seen.add(start)
                    tables.append(table)
                    left += self.words_in(target.read(start, min(THREAD_BLOCK_BYTES, around[1] - start)), start)
                    break
        return tables

    def modules_at(self, address):
        return [name for name, begin, end in self.modules if begin <= address < end]

    # ---- the whole ----

    def run(self):
        """[(holder, index, direct)] of what leaked."""
        ranges, registers, self.threads = self.roots()
        self.root_bytes = sum(end - begin for begin, end in ranges)
        self.mark(registers)
        self.mark(self.kept_threads(ranges))
        for begin, end in ranges:
            self.scan(begin, end)
        self.drain()
        return self.classify()

    def leaked(self):
        for slab in self.heap.slabs():
            for index in bits_of(slab.unmarked):
                yield slab, index
        for block in self.others:
            if block.unmarked:
                yield block, 0

    def classify(self):
        leaked = sorted(self.leaked(), key=lambda b: self.user(*b))
        targeted = set()
        points_to = {}
        for holder, index in leaked:
            targets = set()
            for _, words in self.content(holder, [index]):
                targets.update(filter(None, map(self.lookup, self.candidates(words))))
            targets.discard((holder, index))
            points_to[holder, index] = targets
            targeted |= targets
        # Of blocks that only point to each other, the first counts as direct.
        direct = [block for block in leaked if block not in targeted]
        reached = set()
        result = []
        for block in direct + leaked:
            if block in reached:
                continue
            result.append((*block, True))
            reached.add(block)
            left = [block]
            while left:
                for other in points_to[left.pop()]:
                    if other not in reached:
                        reached.add(other)
                        result.append((*other, False))
                        left.append(other)
        return result

    def user(self, holder, index):
        return holder.user if isinstance(holder, Large) else self.extent(holder, index)[0]

    def size(self, holder, index):
        return holder.size if isinstance(holder, Large) else self.extent(holder, index)[1]

    def record_of(self, holder, index):
        if isinstance(holder, Large):
            return holder.record
        return self.records.record(holder, index) if self.records is not None else None


def merge(ranges):
    merged = []
    for begin, end in sorted(ranges):
        if merged and begin <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([begin, end])
    return merged


def subtract(ranges, holes):
    """The parts of `ranges` outside of `holes`, both in order."""
    left = []
    for begin, end in ranges:
        for low, high in holes:
            if high <= begin or low >= end:
                continue
            if low > begin:
                left.append((begin, low))
            begin = max(begin, high)
        if begin < end:
            left.append((begin, end))
    return left


def groups(search, leaks):
    """[(direct, key, [addresses], bytes)], the most bytes first. The key is the allocation stack's number, or the size in release."""
    found = {}
    for holder, index, direct in leaks:
        record = search.record_of(holder, index)
        size = search.size(holder, index)
        key = direct, record["alloc_stack"] if record is not None else None, None if record is not None else size
        group = found.setdefault(key, [[], 0])
        group[0].append(search.user(holder, index))
        group[1] += size
    ordered = sorted(found.items(), key=lambda item: (not item[0][0], -item[1][1], item[1][0][0]))
    return [(direct, stack, size, sorted(addresses), total) for (direct, stack, size), (addresses, total) in ordered]


def search(heap, names):
    return Search(heap, blocks.records_of(heap, names))
