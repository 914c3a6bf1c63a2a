#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the parts of docs/verify.md that programs print, or checks that the page still has them.

A part is everything between "<!-- NAME -->" and "<!-- end -->". Without --write, exits 1 and shows the difference when the page differs in
anything but addresses and process numbers. Frames outside of this project are left out: they depend on the system.

Usage: verify_page.py --source ROOT --bin DIRECTORY [--write]
"""
import argparse
import difflib
import os
import pathlib
import re
import subprocess
import sys

# NAME: program, arguments, options
RUNS = {
    "shop": ("shop", [], ""),
    "shop guarded": ("shop", [], "guard_sample_rate=1"),
    "double-free": ("mistakes", ["double-free"], ""),
    "invalid-free": ("mistakes", ["invalid-free"], ""),
    "size-mismatch": ("mistakes", ["size-mismatch"], ""),
    "alloc-dealloc-mismatch": ("mistakes", ["alloc-dealloc-mismatch"], ""),
    "heap-buffer-overflow": ("mistakes", ["heap-buffer-overflow"], ""),
    "heap-buffer-underflow": ("mistakes", ["heap-buffer-underflow"], ""),
    "heap-use-after-free": ("mistakes", ["heap-use-after-free"], ""),
    "read after free": ("mistakes", ["read-after-free"], "guard_sample_rate=1"),
    "leak": ("mistakes", ["leak"], "detect_leaks=1"),
}
OWN = re.compile(r" (docs/sample|tests/docs)/")


def run(directory: pathlib.Path, program: str, arguments: list[str], options: str) -> str:
    """What the program prints under verify, standard error only."""
    settings = "guard_sample_rate=0" if "guard" not in options else options
    if "guard" not in options and options:
        settings += ":" + options
    command = [directory / "mpmm", "run", "--verify", "-o", settings, "--", directory / program, *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "MPMM_OPTIONS"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False).stderr


def own_frames(text: str) -> str:
    """Drops the frames of other people's code, and numbers the rest again."""
    lines, number = [], 0
    for line in text.splitlines():
        frame = re.match(r"    #\d+ (.*)", line)
        if not frame:
            number = 0
            lines.append(line)
        elif OWN.search(line):
            lines.append(f"    #{number} {frame.group(1)}")
            number += 1
    return "\n".join(lines)


def options_table(directory: pathlib.Path) -> str:
    shown = subprocess.run([directory / "mpmm", "run", "--verify", "-o", "help=1", "--", "true"], capture_output=True, text=True, check=False).stderr
    rows = re.findall(r"^(\w+)=(\S*)  (.*)$", shown, re.MULTILINE)
    return "\n".join(["| key | default | meaning |", "| --- | --- | --- |", *(f"| `{key}` | {value or '(empty)'} | {text} |" for key, value, text in rows)])


def sequence(text: str) -> str:
    """The same in every run: addresses and process numbers are not."""
    text = re.sub(r"==\d+==", "==PID==", text)
    text = re.sub(r"0x[0-9a-f]+", "0x…", text)
    return re.sub(r"(?m)^(=>|  )0x…:.*$", r"\g<1>0x…: …", text)


def parts(directory: pathlib.Path, source: pathlib.Path) -> dict[str, str]:
    made = {}
    for name, (program, arguments, options) in RUNS.items():
        text = run(directory, program, arguments, options).replace(f"{source}/", "")
        made[name] = f"```text\n{own_frames(text)}\n```"
    made["options"] = options_table(directory)
    return made


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--source", required=True, type=pathlib.Path)
    parser.add_argument("--bin", required=True, type=pathlib.Path)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    page = arguments.source / "docs" / "verify.md"
    old = page.read_text(encoding="utf-8")
    used = set()

    def replace(match: re.Match) -> str:
        name = match.group(1)
        if name not in made:
            return match.group(0)
        used.add(name)
        return f"<!-- {name} -->\n{made[name]}\n<!-- end -->"

    made = parts(arguments.bin, arguments.source)
    new = re.sub(r"<!-- (?!end )([^>]+?) -->\n(?:.*?\n)??<!-- end -->", replace, old, flags=re.DOTALL)
    if missing := made.keys() - used:
        print(f"not in the page: {', '.join(sorted(missing))}")
        return 1
    if arguments.write:
        page.write_text(new, encoding="utf-8")
        return 0
    difference = list(difflib.unified_diff(sequence(old).splitlines(), sequence(new).splitlines(), "docs/verify.md", "what the programs print", lineterm=""))
    print("\n".join(difference) if difference else f"{len(used)} parts are as printed")
    return 1 if difference else 0


if __name__ == "__main__":
    sys.exit(main())
