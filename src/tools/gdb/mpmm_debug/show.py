# SPDX-License-Identifier: Apache-2.0
# What the commands print.

import os

from . import leaks as search
from . import records as blocks
from . import target
from .heap import LARGE_FREE, ORPHAN, STATES, UNUSED, Problem, ones

SHOWN_ADDRESSES = 4
SHOWN_LARGE = 20


def bytes_text(number):
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if number >= 10 << shift:
            return "%.1f %s" % (number / (1 << shift), unit)
    return "%d B" % number


def count(number, what):
    return "%d %s%s" % (number, what, "" if number == 1 else "s")


def title(heap):
    kind = "verify" if heap.geometry.verify else "release"
    return "MPMM %s heap in %s" % (kind, os.path.basename(heap.objfile.filename))


# ---- mpmm heap ----


def heap(heap, names):
    records = blocks.records_of(heap, names)
    print(title(heap))
    backend = lambda member: heap.shared["backend." + member]  # noqa: E731
    print("mapped %s, at most %s so far, %s purged so far, %s of metadata" % (
        *(bytes_text(backend(member)) for member in ("mapped_", "peak_", "purged_")), bytes_text(heap.shared["memory.used_"])))  # fmt: skip
    classes(heap, records)
    large(heap, records)
    slots(heap)
    caches(heap)
    if records is not None:
        waiting, bytes_ = records.quarantine()
        print("quarantine: %s, costing %s" % (count(waiting, "block"), bytes_text(bytes_)))
        live, bytes_ = records.guard.live
        print("guarded blocks: %d live with %s" % (live, bytes_text(bytes_)))
    tell_problems(heap)


def tell_problems(heap):
    for problem in heap.problems:
        print("PROBLEM: " + problem)


def classes(heap, records):
    rows = {}
    for slab in heap.slabs():
        live = held = ones(slab.used)
        waiting = 0
        states = records.states(slab) if records is not None else b""
        if states:
            live, waiting = states.count(blocks.LIVE), states.count(blocks.QUARANTINED)
            if max(states) >= len(blocks.BLOCK_STATES):
                heap.problems.append("the records of the block allocator 0x%x are damaged" % slab.address)
        row = rows.setdefault(slab.class_index, [slab.size, 0, 0, 0, 0, 0, 0, 0])
        values = (1, live, waiting, ones(slab.mask) - held, ones(slab.remote), ones(slab.combining), slab.unused_memory())
        for i, value in enumerate(values, 1):
            row[i] += value
    # A column for what waits in the quarantine, in verify. "Free" holds what is in the remote maps and combining buffers too.
    columns = ["size", "allocators", "live", "quarantined", "free", "remote", "combining", "to purge"]
    shown = [i for i in range(len(columns)) if records is not None or columns[i] != "quarantined"]
    print("%10s%12s" % ("size", "allocators") + "".join("%13s" % columns[i] for i in shown[2:]))
    total = [0] * len(columns)
    live_bytes = 0
    for index in sorted(rows):
        row = rows[index]
        live_bytes += row[0] * row[2]
        total = [a + b for a, b in zip(total, row)]
        print("%10d%12d" % tuple(row[:2]) + "".join("%13s" % cell(row, i) for i in shown[2:]))
    print("%10s%12d" % ("all", total[1]) + "".join("%13s" % cell(total, i) for i in shown[2:]))
    print("live blocks up to %d bytes: %d in size classes that make %s" % (heap.geometry.chunk // 2, total[2], bytes_text(live_bytes)))


def cell(row, i):
    return bytes_text(row[i]) if i == 7 else str(row[i])


def large(heap, records):
    live, waiting = [], 0
    for run in heap.runs:
        if not run.is_used:
            continue
        if records is None:
            live.append((run.base, run.size, run))
            continue
        record = records.run_record(run)
        if record["state"] == blocks.LIVE:
            live.append((run.base + (1 << record["front_shift"]), record["size"], run))
        waiting += record["state"] == blocks.QUARANTINED
    text = "large blocks: %d live with %s" % (len(live), bytes_text(sum(size for _, size, _ in live)))
    print(text + (", %d quarantined" % waiting if records is not None else ""))
    for user, size, run in sorted(live, key=lambda b: -b[1])[:SHOWN_LARGE]:
        print("    0x%x %d bytes, %s%s" % (user, size, count(run.chunks, "chunk"), ", huge" if run.huge else ""))
    if len(live) > SHOWN_LARGE:
        print("    and %d smaller ones" % (len(live) - SHOWN_LARGE))
    free = [run for run in heap.runs if run.state == LARGE_FREE]
    dirty = sum(run.bytes for run in free if not run.clean)
    print("free runs: %d with %s, of which %s to purge" % (len(free), bytes_text(sum(run.bytes for run in free)), bytes_text(dirty)))


def slots(heap):
    total = dirty = 0
    for chunk in heap.chunks.values():
        total += ones(chunk.free_bits) << chunk.slot_shift
        dirty += ones(chunk.free_bits & chunk.dirty_bits) << chunk.slot_shift
    print("free slots: %s in %s, of which %s to purge" % (bytes_text(total), count(len(heap.chunks), "chunk"), bytes_text(dirty)))


def caches(heap):
    owners = heap.cache_threads()
    orphans = [slab for slab in heap.slabs() if slab.state == ORPHAN]
    print("orphans: %s" % count(len(orphans), "block allocator"))
    print("thread caches: %d, %d in use" % (len(heap.caches), sum(cache.alive for cache in heap.caches.values())))
    sizes = {slab.address: slab.size for slab in heap.slabs()}
    for cache in sorted(heap.caches.values(), key=lambda c: c.address):
        combined = [(ones(mask), sizes.get(block, 0)) for block, mask in cache.combined.items()]
        blocks_, bytes_ = sum(n for n, _ in combined), sum(n * size for n, size in combined)
        print("    0x%x %s: %s in bins, %d waiting, %d recovered, combining %s of %s" % (
            cache.address, owner_text(cache, owners), count(sum(1 for b in cache.bins if b), "block allocator"),
            sum(len(heap.follow(head)) for head in cache.waiting), len(heap.follow(cache.recovered_head, "next_recovered")),
            count(blocks_, "block"), bytes_text(bytes_)))  # fmt: skip


def owner_text(cache, owners):
    if cache.address in owners:
        return owners[cache.address]
    return "of a thread that gdb does not know" if cache.alive else "without a thread"


# ---- mpmm block ----


def stack(records, number, heading):
    if heading is not None:
        print(heading)
    try:
        frames = records.stack(number)
    except Problem as problem:
        print("    (%s)" % problem)
        return
    print_frames(frames)


def print_frames(frames):
    for i, pc in enumerate(frames):
        print("    #%d %s" % (i, target.code_at(pc)))
    if not frames:
        print("    (no stack was taken)")


def position(place, address):
    if address < place.user:
        relation = "%d bytes before" % (place.user - address)
    elif address < place.user + place.size or address == place.user:
        relation = "%d bytes inside of" % (address - place.user)
    else:
        relation = "%d bytes after" % (address - place.user - place.size)
    end = place.user + place.size
    print("0x%x is %s the %d-byte block [0x%x,0x%x), %s" % (address, relation, place.size, place.user, end, place.state)
          + (", guarded" if place.guarded else ""))  # fmt: skip


def block(heap, names, address):
    """False when the address is not this heap's."""
    records = blocks.records_of(heap, names)
    place, what = blocks.find(heap, records, address)
    tell_problems(heap)
    gone = records.freed_large(address) if records is not None and (place is None or place.run) else None
    if place is None and what is None and gone is None:
        return False
    print(title(heap))
    if gone is not None and (place is None or place.state != "live"):
        former(records, gone, address)
    if place is None:
        if what is not None:
            print("0x%x %s" % (address, what))
        return True
    position(place, address)
    if place.record is not None:
        history(records, place)
    if place.slab is not None:
        slab = place.slab
        print("size class %d (%d bytes), block %d of %d of the block allocator 0x%x, %s" % (
            slab.class_index, slab.size, place.index, slab.blocks, slab.address, state_text(slab.owner_word)))  # fmt: skip
    if place.run is not None:
        run = place.run
        print("a run of %s at 0x%x%s" % (count(run.chunks, "chunk"), run.base, ", huge" if run.huge else ""))
    return True


def history(records, place):
    record = place.record
    if place.state == "damaged":
        found = record["state"], record["size"], 1 << record["front_shift"]
        print("PROBLEM: its record is damaged: state %d, %d bytes behind a redzone of %d" % found)
        return
    family = record["family"]
    by = blocks.FAMILIES[family] if family < len(blocks.FAMILIES) else "family %d" % family
    print("%d bytes were requested from %s; operation %d" % (record["size"], by, record["sequence"]))
    if place.state in ("quarantined", "freed"):
        stack(records, record["free_stack"], "freed by thread %s here:" % records.thread(record["free_thread"]))
    stack(records, record["alloc_stack"], "allocated by thread %s here:" % records.thread(record["alloc_thread"]))


def former(records, freed, address):
    print("0x%x is %d bytes inside of the %d-byte block [0x%x,0x%x), large, which was freed lately" % (
        address, address - freed["user"], freed["facts.size"], freed["user"], freed["user"] + freed["facts.size"]))  # fmt: skip
    stack(records, freed["facts.free_stack"], "freed by thread %s here:" % records.thread(freed["facts.free_thread"]))
    stack(records, freed["facts.alloc_stack"], "allocated by thread %s here:" % records.thread(freed["facts.alloc_thread"]))


# ---- mpmm slab ----


def state_text(owner_word):
    state = owner_word & 15 if owner_word else UNUSED
    name = STATES[state] if state < len(STATES) else "no legal state"
    return "%s (owner word 0x%x)" % (name, owner_word)


def letters(slab, states):
    live = {blocks.LIVE: "#", blocks.QUARANTINED: "q", 1: "b"}
    for i in range(slab.blocks):
        bit = 1 << i
        if slab.reserved & bit:
            yield "-"
        elif slab.free & slab.remote & bit:
            yield "!"
        elif slab.free & bit:
            yield "."
        elif slab.remote & bit:
            yield "r"
        elif slab.combining & bit:
            yield "c"
        else:
            yield live.get(states[i], "h") if states else "#"


def slab(heap, names, address):
    found, chunk = blocks.find_slab(heap, address)
    if chunk is None:
        return False
    tell_problems(heap)
    print(title(heap))
    if found is None:
        slot = chunk.slot_of(address) if chunk.base <= address < chunk.base + heap.geometry.chunk else None
        print("no block allocator uses %s" % ("slot %d of the chunk at 0x%x" % (slot, chunk.base) if slot is not None else "this record"))
        return True
    records = blocks.records_of(heap, names)
    print("block allocator 0x%x: %d blocks of %d bytes (size class %d) in [0x%x,0x%x)" % (
        found.address, found.blocks, found.size, found.class_index, found.base, found.base + found.blocks * found.size))  # fmt: skip
    print("slot %d of %d in the %schunk at 0x%x" % (
        chunk.slot_of(found.base), chunk.slots, "intrusive " if chunk.intrusive else "", chunk.base))  # fmt: skip
    owners = heap.cache_threads()
    cache = heap.caches.get(found.owner_word & ~15)
    print("%s%s" % (state_text(found.owner_word), ": cache 0x%x, %s" % (cache.address, owner_text(cache, owners)) if cache else ""))
    for line in membership(heap, found, owners):
        print(line)
    states = records.states(found) if records is not None else b""
    row = "".join(letters(found, states))
    for start in range(0, len(row), 64):
        print("%7d  %s" % (start, row[start : start + 64]))
    meaning = [("#", "live"), ("q", "quarantined"), ("b", "changing"), ("h", "the heap's own"), (".", "free"),
               ("r", "freed by another thread"), ("c", "in a combining buffer"), ("-", "reserved"),
               ("!", "free twice: the maps contradict each other")]  # fmt: skip
    print("         " + ", ".join("%s %d %s" % (letter, row.count(letter), text) for letter, text in meaning if letter in row))
    print("%s of unused pages to purge" % bytes_text(found.unused_memory()))
    return True


def membership(heap, slab, owners):
    """Which lists it is on, by going through them, and whether that fits its state."""
    found = []
    for cache in heap.caches.values():
        who = "cache 0x%x (%s)" % (cache.address, owner_text(cache, owners))
        if slab.address in cache.bins:
            found.append("in the bin of " + who)
        waiting = heap.follow(cache.waiting[slab.class_index]) if slab.class_index < len(cache.waiting) else []
        if slab.address in waiting:
            found.append("waiting behind the bin of %s, number %d of %d" % (who, waiting.index(slab.address) + 1, len(waiting)))
        if slab.address in heap.follow(cache.recovered_head, "next_recovered"):
            found.append("on the list of recovered ones of " + who)
    heads = heap.orphan_heads()
    if slab.class_index < len(heads) and slab.address in heap.follow(heads[slab.class_index]):
        found.append("on the list of orphans of its size class")
    back = ones(slab.remote) + slab.returned
    if not found and STATES[min(slab.state, 9)] == "full":
        return ["on no list, as full ones are: it wakes when %d blocks are back, %d are" % (max(1, slab.blocks // 16), back)]
    if len(found) == 1:
        return found
    return found + ["PROBLEM: it is on %s, and should be on one" % ("no list" if not found else "%d lists" % len(found))]


# ---- mpmm leaks ----


def leaks(heap, names, most):
    print(title(heap))
    run = search.search(heap, names)
    found = run.run()
    tell_problems(heap)
    roots = count(run.threads, "thread"), bytes_text(run.root_bytes)
    print("looked from %s and %s of global and thread-local variables and stacks" % roots)
    groups = search.groups(run, found)
    for direct, stack_number, size, addresses, total in groups[:most]:
        print()
        where = ", allocated from:" if stack_number is not None else ":" if size is None else " of %d bytes each:" % size
        print("%s leak of %d bytes in %s%s" % ("Direct" if direct else "Indirect", total, count(len(addresses), "block"), where))
        if stack_number is not None:
            stack(run.records, stack_number, None)
        text = ", ".join("0x%x" % address for address in addresses[:SHOWN_ADDRESSES])
        print("    at " + text + (", …" if len(addresses) > SHOWN_ADDRESSES else ""))
    if len(groups) > most:
        print("\nand %d groups more; 'mpmm leaks %d' shows them" % (len(groups) - most, len(groups)))
    print("\nleaked in all: %d bytes in %s" % (sum(group[4] for group in groups), count(len(found), "block")))
