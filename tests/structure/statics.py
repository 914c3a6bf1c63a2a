#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The libraries have no local statics that are initialised when first reached: compiled with -fno-threadsafe-statics, two threads would race.

Usage: statics.py --nm NM ARCHIVE...
"""
import argparse
import subprocess
import sys


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--nm", required=True)
    parser.add_argument("archives", nargs="+")
    arguments = parser.parse_args()
    found = 0
    for archive in arguments.archives:
        lines = subprocess.run([arguments.nm, archive], check=True, capture_output=True, text=True).stdout.splitlines()
        if not any(" T " in line for line in lines):
            print(f"{archive}: nm shows no function")
            return 1
        for symbol in sorted({line.split()[-1] for line in lines if line.split() and line.split()[-1].startswith("_ZGV")}):
            print(f"{archive}: guard variable {symbol}")
            found += 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
