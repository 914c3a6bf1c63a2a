# SPDX-License-Identifier: Apache-2.0
# The commands and their help.

import gdb

from . import heap, show, target

MOST_GROUPS = 50


class Command(gdb.Command):
    """A subcommand of mpmm: run(heaps, variables, argument)."""

    name = ""
    completion = gdb.COMPLETE_NONE

    def __init__(self):
        super().__init__("mpmm " + self.name, gdb.COMMAND_DATA, self.completion)

    def invoke(self, argument, from_tty):
        self.dont_repeat()
        try:
            if gdb.selected_inferior().pid == 0:
                raise target.Problem("there is no process: run the program, attach to one, or load a core file")
            names = target.variables()
            self.run(heap.find_all(names), names, argument.strip())
        except target.Problem as problem:
            raise gdb.GdbError("mpmm: %s" % problem) from problem
        except gdb.error as error:
            raise gdb.GdbError(str(error)) from error

    def address(self, argument):
        if not argument:
            raise target.Problem("which address? 'help mpmm %s' says more" % self.name)
        value = gdb.parse_and_eval(argument)
        if value.type.strip_typedefs().code == gdb.TYPE_CODE_ARRAY:
            value = value.address
        try:
            return int(value) & (1 << 8 * target.pointer_size()) - 1
        except gdb.error as error:
            raise target.Problem("'%s' is no address" % argument) from error


class Mpmm(gdb.Command):
    """Look into the heap of a program that runs on MPMM, the memory allocator.

mpmm heap           how much is live and free, by size class, and in which thread caches
mpmm block ADDRESS  the block at or around an address
mpmm slab ADDRESS   a block allocator with its bitmaps
mpmm leaks [COUNT]  blocks that nothing points to

They work on a stopped process and on a core file, with the release and the verify library, and change nothing. Counts
may be off by a few blocks where a thread was stopped in the middle of malloc or free."""

    def __init__(self):
        super().__init__("mpmm", gdb.COMMAND_DATA, gdb.COMPLETE_COMMAND, True)


class HeapCommand(Command):
    """Statistics of the heap.

usage: mpmm heap

One line per size class with blocks in use:
  size         of a block; in verify the redzones are part of it
  allocators   block allocators
  live         blocks the program has
  quarantined  (verify) freed, and kept from reuse for a while
  free         all others, of which
  remote       were freed by a thread that does not own them, and wait in the block allocator for who does
  combining    likewise, and wait in the combining buffer of the thread that freed them
  to purge     memory of whole pages that only free blocks are on

Then large blocks and free runs of chunks, slots that no block allocator uses, block allocators whose thread ended
(orphans), and thread caches with the block allocators they hold."""

    name = "heap"

    def run(self, heaps, names, argument):
        if argument:
            raise target.Problem("'mpmm heap' takes no argument")
        for each in heaps:
            show.heap(each, names)


class BlockCommand(Command):
    """The block at or around an address.

usage: mpmm block ADDRESS

ADDRESS is any expression. Tells whether the block is live or free, of which size class, and where in its block
allocator. In verify also the requested size, which function allocated it, and the threads and call stacks of its
allocation and, when it was freed, of that; and for addresses in a redzone or on a guard page the distance to the block."""

    name = "block"
    completion = gdb.COMPLETE_EXPRESSION

    def run(self, heaps, names, argument):
        address = self.address(argument)
        for each in heaps:
            if show.block(each, names, address):
                return
        where = gdb.execute("info symbol 0x%x" % address, to_string=True).strip()
        print("0x%x is not the heap's%s" % (address, "; it is " + where if " in section " in where else ""))


class SlabCommand(Command):
    """A block allocator: equal blocks, with one bit each that says which are free.

usage: mpmm slab ADDRESS

ADDRESS is that of the block allocator or any in its blocks. Shows its owner, which lists it is on, and its blocks as
rows of 64 letters. A block allocator on no list or several, or in a state that does not fit, is said to be a PROBLEM."""

    name = "slab"
    completion = gdb.COMPLETE_EXPRESSION

    def run(self, heaps, names, argument):
        address = self.address(argument)
        for each in heaps:
            if show.slab(each, names, address):
                return
        raise target.Problem("no block allocator has 0x%x; 'mpmm block 0x%x' says what it is" % (address, address))


class LeaksCommand(Command):
    """Blocks that nothing points to.

usage: mpmm leaks [COUNT]

Searches global variables, registers, the stacks and the thread-local memory of all threads for what looks like an
address in a block, then the blocks found, and so on. What is not found is listed: in groups by the call stack of the
allocation in verify, by size in release. Blocks that only other leaked ones point to are indirect leaks. At most COUNT
groups are shown, 50 unless said otherwise. Memory that the program mapped by itself is not searched."""

    name = "leaks"

    def run(self, heaps, names, argument):
        most = MOST_GROUPS
        if argument:
            most = int(gdb.parse_and_eval(argument))
        for each in heaps:
            show.leaks(each, names, most)


def register():
    for command in (Mpmm, HeapCommand, BlockCommand, SlabCommand, LeaksCommand):
        command()
