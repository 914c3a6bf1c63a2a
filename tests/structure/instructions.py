#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counts the instructions of an allocation and its free with callgrind, and fails when there are more than written down here.

Each count is the difference of two runs of different lengths, free of start-up, without what the loops take. The numbers are those of GCC 12
with the release preset; a change that makes a path shorter lowers its number here.
"""
import argparse
import concurrent.futures
import os
import re
import subprocess
import sys

FEW, MANY = 1024 * 10, 1024 * 50
TOLERANCE = 1.02
# (calls, size, batch): instructions a pair. 0 bytes: 16 to 511 at random.
EXPECTED = {
    ("malloc", 0, 1): 41.0,
    ("malloc", 0, 256): 68.9,
    ("malloc", 16, 1): 49.3,
    ("malloc", 2048, 256): 105.3,
    ("unsized", 64, 256): 70.9,
    ("sized", 64, 256): 72.9,
    ("batch", 64, 256): 27.6,
}
# What has to be quicker than what.
QUICKER = [(("batch", 64, 256), ("sized", 64, 256))]


def run(program, preload, calls, size, batch, count):
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program, calls, str(count), str(size), str(batch)]
    done = subprocess.run(command, env={**os.environ, "LD_PRELOAD": preload}, capture_output=True, text=True, check=False)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or not found:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()[-500:]}")
    return int(found.group(1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--program", required=True)
    parser.add_argument("--preload", required=True, help="for malloc and free")
    arguments = parser.parse_args()

    def per_pair(case):
        calls, size, batch = case
        preload = arguments.preload if calls == "malloc" else ""
        few, many = (run(arguments.program, preload, calls, size, batch, count) for count in (FEW, MANY))
        return (many - few) / (MANY - FEW)

    loops = {("none", size, batch) for _, size, batch in EXPECTED}
    cases = [*EXPECTED, *sorted(loops)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        counts = dict(zip(cases, pool.map(per_pair, cases)))
    # A batch has no loop of its own for each block.
    alone = {case: counts[case] - (0 if case[0] == "batch" else counts["none", *case[1:]]) for case in EXPECTED}
    wrong = [f"{case}: more than {expected}" for case, expected in EXPECTED.items() if alone[case] > expected * TOLERANCE]
    wrong += [f"{quick} is not quicker than {slow}" for quick, slow in QUICKER if alone[quick] >= alone[slow]]
    for case, expected in EXPECTED.items():
        print(f"{case[0]:8} {case[1] or '16-511':>6} bytes, {case[2]:3} at a time: {alone[case]:6.1f} instructions, expected {expected:.1f}")
    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
