#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Which lines and branches of the source the programs reached: a table by folder, and the uncovered lines of each file.

llvm-cov takes a function of the same name in two programs for the same one, but release and verify differ in them. So it is asked for each
program apart, and what any of them reached is reached. A branch is one outcome of a condition.

Usage: coverage.py --source SRC --profile FILE --html FOLDER PROGRAM...
"""
import argparse
import collections
import concurrent.futures
import html
import os
import pathlib
import re
import subprocess
import sys

# What the core, all of the source without its tools, must reach.
LINES, BRANCHES = 95, 90
TOOLS = "tools"

LINE = re.compile(r"\s*(\d+)\|\s*([0-9.]+[kMGTPE]?)?\|")
BRANCH = re.compile(r"\s*\|  Branch \((\d+:\d+)\): \[True: ([^,]+), False: ([^\]]+)\]")


class File:
    """Counts, as far as that they are not zero."""

    def __init__(self) -> None:
        self.lines: dict[int, bool] = {}
        self.branches: dict[tuple[int, str, str], bool] = {}

    def add(self, shown: list[str]) -> None:
        for text in shown:
            if (line := LINE.match(text)) and line.group(2) is not None:
                number = int(line.group(1))
                self.lines[number] = self.lines.get(number, False) or line.group(2) != "0"
            elif branch := BRANCH.match(text):
                place = branch.group(1)
                for outcome, count in [("true", branch.group(2)), ("false", branch.group(3))]:
                    key = (int(place.split(":")[0]), place, outcome)
                    self.branches[key] = self.branches.get(key, False) or count != "0"


def show(program: str, profile: str, source: pathlib.Path) -> str:
    """Empty for what has no coverage: scripts, and programs of C alone."""
    command = ["llvm-cov-19", "show", "--show-branches=count", "--show-expansions=0", "--show-instantiations=0", f"--instr-profile={profile}"]
    return subprocess.run([*command, program, str(source)], capture_output=True, text=True, check=False).stdout


def collect(programs: list[str], profile: str, source: pathlib.Path) -> dict[str, File]:
    files: dict[str, File] = collections.defaultdict(File)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for shown in pool.map(lambda program: show(program, profile, source), programs):
            # A file's part begins with its path and a colon; with one file only, llvm-cov leaves that out.
            for part in re.split(rf"(?m)^(?={re.escape(str(source))}/[^|]*:$)", shown):
                if part.startswith(str(source)):
                    head, *rest = part.splitlines()
                    files[os.path.relpath(head.rstrip(":"), source)].add(rest)
    return dict(files)


def share(values: list[bool]) -> str:
    return f"{100 * sum(values) / len(values):.1f}" if values else "-"


def ranges(numbers: list[int]) -> str:
    groups: list[list[int]] = []
    for number in numbers:
        if groups and number == groups[-1][1] + 1:
            groups[-1][1] = number
        else:
            groups.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in groups)


def write_html(files: dict[str, File], source: pathlib.Path, folder: pathlib.Path) -> None:
    style = "<style>pre{font-size:13px} .no{background:#fcc} .half{background:#fec} td{padding:0 1em}</style>"
    rows = []
    for name, file in sorted(files.items()):
        half = collections.defaultdict(list)
        for (line, place, outcome), reached in sorted(file.branches.items()):
            if not reached:
                half[line].append(f"{place} is never {outcome}")
        body = []
        for number, text in enumerate((source / name).read_text(encoding="utf-8").splitlines(), 1):
            kind = "no" if file.lines.get(number) is False else "half" if number in half else ""
            note = html.escape("; ".join(half[number])) if kind == "half" else ""
            body.append(f'<span class="{kind}" title="{note}">{number:5} {html.escape(text)}</span>')
        page = folder / f"{name}.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(f"<!doctype html><meta charset=utf-8><title>{name}</title>{style}<pre>" + "\n".join(body) + "</pre>\n", encoding="utf-8")
        lines, branches = list(file.lines.values()), list(file.branches.values())
        rows.append(f'<tr><td><a href="{name}.html">{name}</a><td>{share(lines)}<td>{share(branches)}')
    (folder / "index.html").write_text(f"<!doctype html><meta charset=utf-8><title>Coverage</title>{style}<table><tr><td>file<td>lines %<td>branches %"
                                       + "\n".join(rows) + "</table>\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--source", required=True, type=pathlib.Path)
    parser.add_argument("--profile", required=True)
    parser.add_argument("--html", required=True, type=pathlib.Path)
    parser.add_argument("programs", nargs="+")
    arguments = parser.parse_args()
    files = collect(arguments.programs, arguments.profile, arguments.source)
    write_html(files, arguments.source, arguments.html)

    for name, file in sorted(files.items()):
        if missing := sorted(number for number, reached in file.lines.items() if not reached):
            print(f"{name}: {ranges(missing)}")
    groups: dict[str, list[File]] = collections.defaultdict(list)
    for name, file in files.items():
        folder = name.split("/")[0]
        groups[folder].append(file)
        if folder != TOOLS:
            groups["the core"].append(file)
    print(f"\n{'folder':12} {'lines':>8} {'lines %':>8} {'branches':>9} {'branches %':>10}")
    for folder, members in sorted(groups.items(), key=lambda group: (group[0] == "the core", group[0])):
        lines = [reached for file in members for reached in file.lines.values()]
        branches = [reached for file in members for reached in file.branches.values()]
        print(f"{folder:12} {len(lines):8} {share(lines):>8} {len(branches):9} {share(branches):>10}")
    # Of the last group, the core.
    good = bool(lines and branches) and 100 * sum(lines) >= LINES * len(lines) and 100 * sum(branches) >= BRANCHES * len(branches)
    if not good:
        print(f"coverage: the core must reach {LINES} % of its lines and {BRANCHES} % of its branches", file=sys.stderr)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
