#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the table of docs/platforms.md from the logs that ci/test left in build/.

Usage: platforms_page.py --source ROOT
"""
import argparse
import collections
import pathlib
import re
import sys

# In the order of the table. What a preset has no log of is left out.
PLATFORMS = {
    "release": "Linux, x86-64", "asan": "Linux, x86-64, address and undefined-behaviour sanitizers", "tsan": "Linux, x86-64, thread sanitizer",
    "windows": "Windows, x86-64 (Wine 8)", "linux32": "Linux, i386", "aarch64": "Linux, AArch64 (qemu-user 7.2)", "musl": "Linux, x86-64, musl",
}  # fmt: skip
TEST = re.compile(r"^ *\d+/\d+ Test +#\d+: (\S+) .*?(?: |\*\*\*)(Passed|Skipped|Failed|Not Run|Timeout|Exception)\b")
TABLE = re.compile(r"(<!-- runs -->\n).*?(<!-- end -->)", re.DOTALL)


def compiler(tree: pathlib.Path) -> str:
    """As CMake found it: GNU 12.2.0."""
    (found,) = tree.glob("CMakeFiles/*/CMakeCXXCompiler.cmake")
    text = found.read_text(encoding="utf-8")
    return " ".join(re.search(rf'CMAKE_CXX_COMPILER_{what} "([^"]*)"', text).group(1) for what in ("ID", "VERSION")).replace("GNU", "GCC")


def rows(tree: pathlib.Path, platform: str):
    """A row for each mode; a test whose name says nothing is of both, and counted with release."""
    counts = collections.defaultdict(collections.Counter)
    for line in (tree / "ctest.log").read_text(encoding="utf-8", errors="replace").splitlines():
        if match := TEST.match(line):
            counts["verify" if "verify" in match[1] else "release"][match[2]] += 1
    for mode, count in sorted(counts.items()):
        yield f"| {platform} | {compiler(tree)} | {mode} | {count.total()} | {count['Passed']} | {count['Skipped']} |"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--source", required=True, type=pathlib.Path)
    source = parser.parse_args().source
    table = ["| platform | compiler | mode | tests | passed | skipped |", "| --- | --- | --- | ---: | ---: | ---: |"]
    for preset, platform in PLATFORMS.items():
        tree = source / "build" / preset
        if (tree / "ctest.log").exists():
            table += rows(tree, platform)
    page = source / "docs" / "platforms.md"
    text, count = TABLE.subn(lambda match: match[1] + "\n".join(table) + "\n" + match[2], page.read_text(encoding="utf-8"))
    if count != 1:
        print(f"{page} has no place for the table", file=sys.stderr)
        return 1
    page.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
