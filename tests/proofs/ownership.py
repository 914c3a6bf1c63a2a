#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Explores every state of the model of ownership and recovery, tests/proofs/ownership.pml, with spin.

prove: the model quotes the source as it is, every atomic access of thread_cache.inl is in the model or named here as left out, no bound
finds an error, and the bounds together reach every statement of the model. Prints the number of states.
bugs: each bug seeded in the model is found; shows how.

larger: bounds that take minutes.

Usage: ownership.py prove|larger|bugs SRC
"""
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from ownership_bugs import BUGS

MODEL = pathlib.Path(__file__).with_name("ownership.pml")

# What is explored: values for the constants at the model's beginning. Threads allocate, end and free; they only free where they are 0.
BOUNDS = {
    "reuse": dict(FIRST="3", SECOND="3", THIRD="0", CACHES="1", BITS="2"),
    "adoption": dict(FIRST="3", SECOND="3", THIRD="0", CACHES="2", BITS="1"),
    "two words": dict(FIRST="3", SECOND="0", THIRD="0", CACHES="1", BITS="1", WORDS="2", WAKE="2"),
    "threshold": dict(FIRST="3", SECOND="0", THIRD="16", CACHES="1", BITS="3", WAKE="2"),
    "two block allocators": dict(FIRST="1", SECOND="0", THIRD="0", CACHES="1", BITS="1", BLOCK_ALLOCATORS="2"),
    "purge": dict(FIRST="7", SECOND="8", THIRD="16", CACHES="1", BITS="1", BLOCK_ALLOCATORS="2"),
    "purge of two words": dict(FIRST="7", SECOND="8", THIRD="16", CACHES="1", BITS="1", WORDS="2"),
}
# Too slow for every run of the tests.
LARGER = {
    "two owners": dict(FIRST="3", SECOND="3", THIRD="0", CACHES="2", BITS="2"),
    "two recovered": dict(FIRST="3", SECOND="0", THIRD="0", CACHES="1", BITS="1", BLOCK_ALLOCATORS="2"),
    "two adopters": dict(FIRST="3", SECOND="3", THIRD="16", CACHES="2", BITS="1", BLOCK_ALLOCATORS="2"),
    "two words, two owners": dict(FIRST="3", SECOND="3", THIRD="0", CACHES="2", BITS="1", WORDS="2", WAKE="2"),
}

# Atomic accesses of thread_cache.inl that the model has no step for.
LEFT_OUT = {
    "if (recovered.load(relaxed) == nullptr) return 0;": "whether to look at a list at all; the model always does",
    "entry->mask": "the combining buffer is its thread's alone",
    "entry.mask": "likewise",
    "block.free_map[0].store(block.free_word(0) & rest, relaxed);": "Bin::take() for few large blocks",
}


def check_quotations(model: str, source: pathlib.Path) -> list[str]:
    wrong = []
    files = ["tcache/thread_cache.inl", "tcache/thread_cache.hpp", "tcache/shared.hpp", "tcache/cache_registry.hpp", "tcache/bin.hpp",
             "block/block_allocator.hpp", "block/block_allocator.inl", "block/slot_pool.hpp", "platform/bitmap_word.hpp"]
    text = "\n".join((source / file).read_text() for file in files)
    quotations = re.findall(r"//= (.*)", model)
    wrong += [f"not in the source: {quotation}" for quotation in quotations if quotation not in text]
    access = r"\.(load|store|exchange|fetch_\w+|compare_exchange_\w+|owner)\(|(set|change)_owner\("
    for line in (source / files[0]).read_text().splitlines():
        if re.search(access, line.split("//")[0]) and not any(known in line for known in [*quotations, *LEFT_OUT]):
            wrong.append(f"no step of the model: {line.strip()}")
    return wrong


class Explored:
    def __init__(self, model: str, bounds: dict[str, str], show: bool):
        with tempfile.TemporaryDirectory() as scratch:

            def run(*words: str) -> str:
                done = subprocess.run(words, cwd=scratch, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                if done.returncode != 0:
                    raise SystemExit(f"{' '.join(words)}: {done.returncode}\n{done.stdout}")
                return done.stdout

            (pathlib.Path(scratch) / "model.pml").write_text(model)
            spin = ["spin", *(f"-D{name}={value}" for name, value in bounds.items())]
            run(*spin, "-a", "model.pml")
            # Without optimisation: the compiler would take longer than it saves.
            run("gcc", "-w", "-DSAFETY", "-DNOFAIR", "-DMEMLIM=4000", "-o", "pan", "pan.c")
            out = run("./pan", "-m3000000", "-w22")
            self.states = int(re.search(r"(\d+) states, stored", out).group(1))
            self.errors = re.findall(r"^pan:\d+: (.*?) \(at depth", out, re.MULTILINE)
            self.unreached = set(re.findall(r"model\.pml:(\d+), state (\d+), (?!\"-end-\")", out))
            if not self.errors and ("errors: 0" not in out or "Search not completed" in out or "depth too small" in out):
                raise SystemExit(f"spin explored only a part:\n{out[:2000]}")
            if self.errors and show:
                print("The last steps before the error:", *run(*spin, "-t", "-p", "-g", "model.pml").splitlines()[-200:], sep="\n")


def explore_all(jobs: dict[str, tuple[str, dict[str, str]]], show: bool) -> dict[str, Explored]:
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        running = {name: pool.submit(Explored, *job, show) for name, job in jobs.items()}
        return {name: job.result() for name, job in running.items()}


def prove(model: str, bounds: dict[str, dict[str, str]]) -> tuple[list[str], dict[str, Explored]]:
    explored = explore_all({name: (model, constants) for name, constants in bounds.items()}, show=True)
    for name, result in explored.items():
        print(f"{name:22} {result.states:>11,} states: {' '.join(f'{key}={value}' for key, value in bounds[name].items())}")
    print(f"{sum(result.states for result in explored.values()):,} states")
    return [f"{name}: {error}" for name, result in explored.items() for error in result.errors], explored


def check_reached(model: str, explored: dict[str, Explored]) -> list[str]:
    lines = model.splitlines()
    unreached = set.intersection(*(result.unreached for result in explored.values()))
    return [f"never reached: line {line}: {lines[int(line) - 1].strip()}" for line, _ in sorted(unreached, key=lambda at: int(at[0]))]


def find_bugs(model: str) -> list[str]:
    model = re.sub(r" *//=.*", "", model)
    wrong, jobs = [], {}
    for name, bounds, replacements in BUGS:
        text = model
        for old, new in replacements.items():
            if text.count(old) != 1:
                wrong.append(f"{name}: {text.count(old)} times in the model: {old}")
            text = text.replace(old, new)
        jobs[name] = (text, BOUNDS[bounds])
    if wrong:
        return wrong
    for name, result in explore_all(jobs, show=False).items():
        print(f"{name:60} {result.states:>9,} states: {result.errors[0] if result.errors else 'not found'}")
        if not result.errors:
            wrong.append(f"not found: {name}")
    return wrong


def main() -> int:
    what, source, model = sys.argv[1], pathlib.Path(sys.argv[2]), MODEL.read_text()
    if what == "bugs":
        wrong = find_bugs(model)
    elif what == "larger":
        wrong, _ = prove(model, LARGER)
    else:
        wrong, explored = prove(model, BOUNDS)
        wrong += check_quotations(model, source) + check_reached(model, explored)
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
