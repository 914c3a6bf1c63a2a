# SPDX-License-Identifier: Apache-2.0
# What the gdb commands of mpmm_gdb.py are made of: target.py reads the process, heap.py its heap, records.py what verify remembers of it,
# leaks.py looks for blocks that nothing points to, show.py prints, and commands.py is what the user types.
