# SPDX-License-Identifier: Apache-2.0
# gdb commands for programs that run on MPMM: 'mpmm heap', 'mpmm block', 'mpmm slab', 'mpmm leaks', on a process or a core file, with the
# release or the verify library. Load it with 'gdb -x mpmm_gdb.py' or 'source mpmm_gdb.py'. Nothing is called or changed in the process.
#
# It needs the debug information that the libraries are built with, and gdb 9 or later with Python. The code is in the package beside this
# file: here are the variables of gdb's user.


def load_mpmm_commands(folder):
    import importlib
    import sys

    # Sourced again, the file may have changed.
    for name in [name for name in sys.modules if name.split(".")[0] == "mpmm_debug"]:
        del sys.modules[name]
    sys.path.insert(0, folder)
    try:
        importlib.import_module("mpmm_debug.commands").register()
    finally:
        sys.path.remove(folder)


load_mpmm_commands(__import__("os").path.dirname(__import__("os").path.abspath(__file__)))
del load_mpmm_commands
