#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The dictionary of fuzz_options: options.dict beside this file holds every word of the tables in src/verify/options.hpp.

Usage: options.py --check|--write
--check fails when the dictionary is not what --write would write.
"""
import argparse
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
DICTIONARY = HERE / "options.dict"
TABLES = HERE.parents[1] / "src" / "verify" / "options.hpp"


def words() -> list[str]:
    source = TABLES.read_text()
    numbers = re.findall(r"^    X\((\w+), (\w+), (\w+), (\w+), \"", source, re.MULTILINE)
    texts = re.findall(r'^    X\((\w+), "([^"]*)", "([^"]*)", "', source, re.MULTILINE)
    rows = len(re.findall(r"^    X\(\w+, ", source, re.MULTILINE))
    if not numbers or not texts or len(numbers) + len(texts) != rows:
        sys.exit(f"{TABLES}: {rows} rows, of which {len(numbers)} and {len(texts)} can be read")
    limits = {"UINT64_MAX": 2**64 - 1, "UINT32_MAX": 2**32 - 1}
    bounds = {limits.get(bound) or int(bound) for row in numbers for bound in row[1:]}
    values = [str(number) for number in sorted(bounds | {bound + 1 for bound in bounds})]
    choices = sorted({choice for row in texts for choice in row[2].split("|") if choice})
    return [f"{row[0]}=" for row in numbers + texts] + values + choices + ["k", "m", "g", ":", "!", "\n", "\t"]


def text() -> str:
    lines = ['"' + "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in word) + '"' for word in words()]
    return "# SPDX-License-Identifier: Apache-2.0\n# Written by options.py.\n" + "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser()
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--check", action="store_true")
    what.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        DICTIONARY.write_text(text())
    elif DICTIONARY.read_text() != text():
        print(f"{DICTIONARY} is not up to date: run {pathlib.Path(__file__).name} --write")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
