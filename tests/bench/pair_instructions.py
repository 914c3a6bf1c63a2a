#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counts the instructions a malloc and its free take together, with callgrind.

bench_pair runs twice with different numbers of pairs; the difference of the two counts is free of start-up. What the loop
itself takes is measured the same way without malloc and free, and taken off. Batch 1 frees each block at once; batch 256
allocates 256 blocks and frees them in the same order.
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys

sys.dont_write_bytecode = True  # the source tree stays as it is

import measure
import report

SIZES = [0, 16, 128, 2048]  # 0: 16 to 511 at random
BATCHES = [1, 256]
FEW, MANY = 256 * 40, 256 * 200


def count(program, preload, arguments):
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program, *map(str, arguments)]
    environment = {**os.environ, "LD_PRELOAD": preload}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or not found:
        raise RuntimeError(done.stderr.strip()[-500:])
    return int(found.group(1))


def per_pair(program, preload, size, batch, *more):
    few = count(program, preload, [FEW, size, batch, *more])
    return (count(program, preload, [MANY, size, batch, *more]) - few) / (MANY - FEW)


def main():
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--allocators", metavar="A,B", help="default " + ",".join(measure.ALLOCATORS))
    parser.add_argument("--mpmm", default=measure.MPMM, help="the library to preload as mpmm (default %(default)s)")
    parser.add_argument("--bin", default=measure.BINARIES, help="where bench_pair is (default %(default)s)")
    options, _ = parser.parse_known_args()  # ci/bench gives both programs the same arguments
    names = options.allocators.split(",") if options.allocators else measure.ALLOCATORS
    libraries, missing = measure.find_allocators(names, options.mpmm)
    for reason in missing:
        print(f"skipped: {reason}", file=sys.stderr)

    program = str(pathlib.Path(options.bin).resolve() / "bench_pair")
    loop = {batch: per_pair(program, "", 16, batch, "empty") for batch in BATCHES}
    rows, failed = [], False
    for batch in BATCHES:
        for size in SIZES:
            row = [f"{size or '16-511'} bytes, batch {batch}"]
            for name, library in libraries.items():
                try:
                    row.append(f"{per_pair(program, library, size, batch) - loop[batch]:.1f}")
                except RuntimeError as error:
                    print(f"{name} failed: {error}", file=sys.stderr)
                    failed = failed or name not in measure.PEERS
                    row.append("failed")
            rows.append(row)
    print("### Instructions per malloc and free together\n")
    print(report.table(["pair", *libraries], rows))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
