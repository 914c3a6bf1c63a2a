#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the gdb commands on heap_child, whose heap is known: on the process, stopped in stop_here(), and on a core file of it.

usage: gdb_test.py GDB SCRIPT CHILD LIBRARY release|verify [heap|guarded|many|damaged]
LIBRARY is preloaded; '-' when CHILD is linked with it, 'none' for a program without MPMM. Exit code 77: gdb may not trace processes here.
"""

import os
import re
import subprocess
import sys
import tempfile

SKIPPED = 77
failures = []


def expect(what, good, output):
    if not good:
        failures.append(what)
        print("FAILED: %s\n--- in the output:\n%s\n---" % (what, output))


class Session:
    """Runs gdb once; text[command] is what the command printed."""

    def __init__(self, gdb, script, arguments, before, commands):
        line = [gdb, "-batch", "-nx", "-ex", "set pagination off", "-ex", "set width 0", "-ex", "set startup-with-shell off", "-ex",
                "set debuginfod enabled off"]  # fmt: skip
        for command in before + ["source " + script]:
            line += ["-ex", command]
        for command in commands:
            line += ["-ex", "echo \\n=== %s\\n" % command, "-ex", command]
        line += ["-ex", "echo \\n=== end\\n"] + arguments
        done = subprocess.run(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
        self.output = done.stdout.decode(errors="replace")
        parts = re.split(r"^=== (.*)\n", self.output, flags=re.MULTILINE)
        self.before = parts[0]
        self.text = dict(zip(parts[1::2], parts[2::2]))

    def __getitem__(self, command):
        return self.text.get(command, "")

    def has(self, command, pattern):
        expect("%s: %s" % (command, pattern), re.search(pattern, self[command], re.MULTILINE), self[command] or self.output)

    def has_not(self, command, pattern):
        good = command in self.text and not re.search(pattern, self[command], re.MULTILINE)
        expect("%s: not %s" % (command, pattern), good, self[command] or self.output)


def classes(text):
    """{size: {column: text}} of the table of 'mpmm heap'."""
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if re.match(r"\s+size\s+allocators", line)), None)
    if start is None:
        return {}
    names = re.split(r"\s{2,}", lines[start].strip())
    rows = {}
    for line in lines[start + 1 :]:
        match = re.match(r"\s+(\d+|all)\s", line)
        if not match:
            break
        cells = re.split(r"\s{2,}", line.strip())
        rows[match.group(1)] = dict(zip(names, cells))
    return rows


COMMANDS = [
    "mpmm heap", "mpmm block live[3]", "mpmm block (char*)live[3]+17", "mpmm block (char*)live[3]-4", "mpmm block (char*)live[3]+3004",
    "mpmm block freed", "mpmm block from_thread[0]", "mpmm block combined[0]", "mpmm block from_thread[7]", "mpmm block made_by_new",
    "mpmm block (char*)large+4999999", "mpmm block huge", "mpmm block large_freed", "mpmm block &chain", "mpmm block ~leaked_inverted",
    "mpmm block 0", "mpmm block 0xffffffffffffff00", "mpmm block", "mpmm block no_such_name",
    "mpmm slab from_thread[0]", "mpmm slab combined[0]",
    "mpmm slab orphans[1]", "mpmm slab large", "mpmm leaks", "mpmm leaks 1", "print/x ~leaked_inverted", "print/x ~indirect_inverted",
    "print/x ~thread_local_inverted", "print/x ~chained_inverted", "mpmm heap nonsense", "help mpmm", "help mpmm heap", "help mpmm leaks",
]  # fmt: skip


def check_heap(session, verify):
    for command in COMMANDS:
        session.has_not(command, r"Traceback|Python Exception|Error while executing|PROBLEM")
    rows = classes(session["mpmm heap"])
    # Size class: live, what waits elsewhere. Verify's redzones make other classes of some of the sizes.
    remote, combining = ("0", "0") if verify else ("4", "3")
    known = {"3072": (10, None), "5120": (18, remote), "1536": (17, combining), "2816": (2, None), "6144": (1, None)}
    known.update({"768": (5, None), "3584": (1, None)} if verify else {"704": (5, None), "3328": (1, None)})
    for size, (live, waiting) in known.items():
        row = rows.get(size, {})
        # Besides the twenty of the thread there are two of the list, less the freed four.
        expect("%s bytes: %d live" % (size, live), row.get("live") == str(live), session["mpmm heap"])
        column = {"5120": "remote", "1536": "combining"}.get(size)
        if column:
            expect("%s bytes: %s %s" % (size, waiting, column), row.get(column) == waiting, session["mpmm heap"])
    if verify:
        for size, waiting in {"3072": "1", "5120": "4", "1536": "3"}.items():
            expect("%s bytes: %s quarantined" % (size, waiting), rows.get(size, {}).get("quarantined") == waiting, session["mpmm heap"])
    total = sum(int(row["live"]) for size, row in rows.items() if size != "all")
    expect("the line for all is the sum", "all" in rows and int(rows["all"]["live"]) == total, session["mpmm heap"])
    session.has("mpmm heap", r"^MPMM %s heap in " % ("verify" if verify else "release"))
    session.has("mpmm heap", r"^large blocks: 2 live with 84\.8 MiB" + (", 1 quarantined" if verify else ""))
    session.has("mpmm heap", r"^    0x[0-9a-f]+ 83886080 bytes, 4[01] chunks, huge")
    session.has("mpmm heap", r"^free runs: 0 with" if verify else r"^free runs: 1 with 2048\.0 KiB")
    session.has("mpmm heap", r"^orphans: 1 block allocator$")
    session.has("mpmm heap", r"^thread caches: 3, 2 in use$")
    for pattern in (r"thread 1\b.*", r"thread 2\b.*", "without a thread"):
        session.has("mpmm heap", r"^    0x[0-9a-f]+ " + pattern + ": ")
    if not verify:
        session.has("mpmm heap", r"thread 1.*combining 3 blocks of 4608 B")

    session.has("mpmm block live[3]", r"is 0 bytes inside of the %s-byte block .*, live" % ("3000" if verify else "3072"))
    session.has("mpmm block live[3]", r"^size class 44 \(3072 bytes\), block 3 of 64 of the block allocator 0x[0-9a-f]+, active")
    session.has("mpmm block (char*)live[3]+17", r"is 17 bytes inside of")
    session.has("mpmm block (char*)large+4999999", r"is 4999999 bytes inside of the 500\d+-byte block .*, live")
    session.has("mpmm block (char*)large+4999999", r"^a run of 3 chunks at")
    session.has("mpmm block huge", r"^a run of 4[01] chunks at .*, huge")
    session.has("mpmm block &chain", r"is not the heap's; it is chain in section \.bss")
    session.has("mpmm block 0", r"^0x0 is not the heap's$")
    session.has("mpmm block 0xffffffffffffff00", r"^0xffffffffffffff00 is not the heap's$")
    session.has("mpmm block", r"^mpmm: which address\?")
    session.has("mpmm block no_such_name", r'^No symbol "no_such_name" in current context')
    session.has("mpmm slab large", r"^mpmm: no block allocator has 0x")
    session.has("mpmm heap nonsense", r"^mpmm: 'mpmm heap' takes no argument")
    session.has("mpmm slab orphans[1]", r"^orphan \(owner word 0x4\)$")
    session.has("mpmm slab orphans[1]", r"^on the list of orphans of its size class$")
    session.has("mpmm slab orphans[1]", r"^      0  ##\.{62}$")
    session.has("mpmm slab from_thread[0]", r"^active .*: cache 0x[0-9a-f]+, thread 2\b")
    session.has("mpmm slab from_thread[0]", r"^in the bin of cache 0x[0-9a-f]+ \(thread 2\b")
    session.has("mpmm slab from_thread[0]", r"^      0  %s#{16}\.{44}$" % ("qqqq" if verify else "rrrr"))
    session.has("mpmm slab combined[0]", r"^      0  %s#{17}\.{44}$" % ("qqq" if verify else "ccc"))
    session.has("help mpmm", "mpmm slab ADDRESS")
    session.has("help mpmm heap", "usage: mpmm heap")
    session.has("help mpmm leaks", r"usage: mpmm leaks \[COUNT\]")
    (check_verify_blocks if verify else check_release_blocks)(session)
    check_leaks(session, verify)


def check_release_blocks(session):
    session.has("mpmm block freed", r"of the 3072-byte block .*, free$")
    session.has("mpmm block from_thread[0]", r"of the 5120-byte block .*, freed by another thread$")
    session.has("mpmm block combined[0]", r"of the 1536-byte block .*, freed, in a thread's combining buffer$")
    session.has("mpmm block from_thread[7]", r"of the 5120-byte block .*, live$")
    session.has("mpmm block made_by_new", r"of the 3328-byte block .*, live$")


def check_verify_blocks(session):
    here = r"heap_child\.cpp:\d+$"
    session.has("mpmm block (char*)live[3]-4", r"is 4 bytes before the 3000-byte block .*, live")
    session.has("mpmm block (char*)live[3]+3004", r"is 4 bytes after the 3000-byte block .*, live")
    session.has("mpmm block live[3]", r"^3000 bytes were requested from malloc; operation \d+$")
    session.has("mpmm block live[3]", r"^allocated by thread T0 \(.*\) here:\n    #0 0x[0-9a-f]+ in .*build\(\).* \S*" + here)
    session.has("mpmm block made_by_new", r"^3300 bytes were requested from operator new; ")
    session.has("mpmm block freed", r"of the 3000-byte block .*, quarantined$")
    session.has("mpmm block freed", r"^freed by thread T0 .*here:\n    #0 0x[0-9a-f]+ in .*build\(\).* \S*" + here)
    session.has("mpmm block from_thread[0]", r"^freed by thread T0 .*here:\n    #0 0x[0-9a-f]+ in main\b.* \S*" + here)
    in_thread = r"^allocated by thread T[12] \(thread 2\b.*here:\n    #0 0x[0-9a-f]+ in .*allocating_thread.* \S*"
    session.has("mpmm block from_thread[0]", in_thread + here)
    session.has("mpmm block large_freed", r"of the 3000000-byte block .*, quarantined$")
    session.has("mpmm block ~leaked_inverted", r"^allocated by .*\n    #0 0x[0-9a-f]+ in .*make_leak\(\)")


def address(session, command):
    match = re.search(r"= (0x[0-9a-f]+)", session[command])
    expect(command, match, session[command])
    return match.group(1) if match else "?"


def check_leaks(session, verify):
    command = "mpmm leaks"
    sizes = (3500, 6000, 9500) if verify else (3520, 6144, 9664)
    session.has(command, r"^Direct leak of %d bytes in 5 blocks" % sizes[0])
    session.has(command, r"^Indirect leak of %d bytes in 1 block" % sizes[1])
    session.has(command, r"^leaked in all: %d bytes in 6 blocks$" % sizes[2])
    if verify:
        session.has(command, r"^Direct leak .* allocated from:\n    #0 0x[0-9a-f]+ in .*make_leak\(\).*\n    #1 0x[0-9a-f]+ in main\b")
    session.has(command, "    at .*" + re.escape(address(session, "print/x ~indirect_inverted")))
    for alive in ("thread_local", "chained"):
        session.has_not(command, re.escape(address(session, "print/x ~%s_inverted" % alive)))
    session.has("mpmm leaks 1", r"^and 1 groups more")


def check_guarded(session):
    """Every block between pages nobody may touch."""
    session.has("mpmm heap", r"^guarded blocks: \d\d live with 8\d\.\d MiB")
    session.has("mpmm block live[3]", r"of the 3000-byte block .*, live, guarded")
    session.has("mpmm block (char*)live[3]+3020", r"is 20 bytes after the 3000-byte block .*, live, guarded")
    session.has("mpmm block freed", r"of the 3000-byte block .*, freed, guarded")
    session.has("mpmm block freed", r"^freed by thread T0 ")
    check_leaks(session, True)


DAMAGE = (
    "python import mpmm_debug.heap as h, mpmm_debug.target as t; heap = h.find_all(t.variables())[0]; "
    "slab = next(s for s in heap.slabs() if s.size == 2816); "
    "gdb.selected_inferior().write_memory(slab.address + heap.block_layout.offset('%s'), b'\\xff\\x7f')"
)
# The last one makes the block allocator unusable.
DAMAGED = [DAMAGE % "next", "mpmm slab orphans[0]", DAMAGE % "blocks", "mpmm heap", "mpmm block live[3]", "mpmm leaks", "mpmm slab live[3]"]


def check_damaged(session):
    """A heap that a program destroyed: said, and the rest is shown."""
    session.has("mpmm slab orphans[0]", r"^on the list of orphans of its size class$")
    told = r"^PROBLEM: the block allocator 0x[0-9a-f]+ of the slot at 0x[0-9a-f]+ is damaged: 32767 blocks of 2816 bytes"
    for command in DAMAGED[3:]:
        session.has(command, told)
        session.has_not(command, "Traceback|Error occurred")
    session.has("mpmm heap", r"^ +5120 +2 +18 ")
    session.has("mpmm block live[3]", r"is 0 bytes inside of the 3072-byte block .*, live")
    session.has("mpmm leaks", r"^Direct leak of 3520 bytes in 5 blocks")


def check_many(session):
    rows = classes(session["mpmm heap"])
    live = sum(int(row["live"]) for size, row in rows.items() if size != "all")
    expect("a million live blocks", live >= 1000000, session["mpmm heap"])
    session.has("mpmm leaks", r"^leaked in all: 32000 bytes in 1000 blocks$")
    match = re.search(r"^(\d+\.\d+) seconds", session["seconds"], re.MULTILINE)
    # Takes a quarter of a second on an idle machine.
    expect("'mpmm heap' is quick", match and float(match.group(1)) < 15, session.output)


def can_trace(gdb, child):
    session = Session(gdb, os.devnull, [child], ["break main", "run"], [])
    return "Breakpoint 1," in session.output


def main():
    gdb, script, child, library, mode = sys.argv[1:6]
    what = sys.argv[6] if len(sys.argv) > 6 else "heap"
    verify = mode == "verify"
    if not can_trace(gdb, child):
        print("gdb cannot run programs here")
        return SKIPPED
    before = ["break stop_here"]
    if library not in ("-", "none"):
        before.append("set environment LD_PRELOAD " + library)
    # The sampled guarded blocks would be missing in the size classes.
    before.append("set environment MPMM_OPTIONS guard_sample_rate=%d" % (what == "guarded"))
    if library == "none":
        session = Session(gdb, script, [child], before + ["run"], ["mpmm heap"])
        session.has("mpmm heap", r"^mpmm: there is no MPMM in this process$")
        session = Session(gdb, script, [child], [], ["mpmm heap"])
        session.has("mpmm heap", r"^mpmm: there is no process: ")
        return 1 if failures else 0
    if what == "many":
        timed = "python import time; t = time.time(); gdb.execute('mpmm heap', to_string=True); print('%.2f seconds' % (time.time() - t))"
        session = Session(gdb, script, [child], before + ["run 1000000"], ["mpmm heap", "mpmm leaks", timed])
        session.text["seconds"] = session.text.get(timed, session.output)
        check_many(session)
        return 1 if failures else 0
    if what == "damaged":
        check_damaged(Session(gdb, script, [child], before + ["run"], DAMAGED))
        return 1 if failures else 0
    if what == "guarded":
        # Without a core file: gdb would write all the address space reserved for the tables of guarded blocks, and take minutes.
        check_guarded(Session(gdb, script, [child], before + ["run"], COMMANDS + ["mpmm block (char*)live[3]+3020"]))
        return 1 if failures else 0
    with tempfile.TemporaryDirectory() as folder:
        core = os.path.join(folder, "core")
        session = Session(gdb, script, [child], before + ["run"], COMMANDS + ["generate-core-file " + core])
        check_heap(session, verify)
        if not os.path.exists(core):
            expect("gdb writes a core file", False, session.output)
        else:
            check_heap(Session(gdb, script, [child, core], [], COMMANDS), verify)
    return 1 if failures else 0


sys.exit(main())
