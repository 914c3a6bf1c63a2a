#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares allocators: the same programs run under each of them in turn, and their time, peak memory and output are compared.

In every round each workload runs once under each allocator, one right after the other and in rotated order, so that
whatever else happens on the machine meets all of them alike. Reported are medians over the rounds.
"""
import argparse
import dataclasses
import json
import os
import pathlib
import platform
import sys

sys.dont_write_bytecode = True  # the source tree stays as it is

import measure
import programs
import report

def parse_arguments():
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, help="runs of each workload under each allocator (default 5, with --demo 2)")
    parser.add_argument("--only", metavar="A,B", help="these workloads only")
    parser.add_argument("--allocators", metavar="A,B", help=f"these only (default {','.join(measure.ALLOCATORS)}); NAME=PATH is any other library, for two builds of ours")
    parser.add_argument("--mpmm", default=measure.MPMM, help="the library to preload as mpmm (default %(default)s)")
    parser.add_argument("--bin", default=measure.BINARIES, help="where the bench_ programs are (default %(default)s)")
    parser.add_argument("--out", default="build/bench", help="the directory for the results (default %(default)s)")
    parser.add_argument("--scale", type=float, default=1.0, help="factor for the amount of work in our own workloads")
    parser.add_argument("--demo", action="store_true", help="a few real programs under glibc and mpmm only; nothing is written")
    parser.add_argument("--list", action="store_true", help="name the workloads and end")
    options = parser.parse_args()
    if options.rounds is None:
        options.rounds = 2 if options.demo else 5
    if options.rounds < 1 or options.scale <= 0:
        parser.error("--rounds and --scale must be positive")
    return options


def choose(workloads, options):
    if options.only:
        names = options.only.split(",")
    else:
        names = programs.DEMO if options.demo else list(workloads)
    unknown = [name for name in names if name not in workloads]
    if unknown:
        raise SystemExit(f"unknown workload {', '.join(unknown)}; known: {', '.join(workloads)}")
    return [workloads[name] for name in names]


def run_all(runner, workloads, libraries, rounds):
    """{workload: {allocator: [Result]}}"""
    allocators = list(libraries)
    runs = {workload.name: {allocator: [] for allocator in allocators} for workload in workloads}
    for turn in range(rounds):
        for position, workload in enumerate(workloads):
            start = (turn + position) % len(allocators)
            shown = []
            for allocator in allocators[start:] + allocators[:start]:
                result = workload.run(runner, libraries[allocator])
                runs[workload.name][allocator].append(result)
                shown.append(f"{allocator} {result.cpu:.2f}" if result.status == 0 else f"{allocator} FAILED")
            print(f"round {turn + 1}/{rounds} {workload.name}: {', '.join(shown)}", file=sys.stderr, flush=True)
    return runs


def find_problems(runs):
    """Runs that failed, and output that is not what most of the good runs printed: {allocator: [what]}."""
    problems = {}
    for name, row in runs.items():
        digests = [result.digest for results in row.values() for result in results if result.status == 0]
        # glibc's output is the right one where there is one.
        good = [result.digest for result in row.get("glibc", []) if result.status == 0] or digests
        expected = max(good, key=good.count, default=None)
        for allocator, results in row.items():
            for result in results:
                if result.status != 0:
                    problems.setdefault(allocator, []).append(f"{name} ended with {result.status}: {result.error}")
                elif result.digest != expected:
                    problems.setdefault(allocator, []).append(f"{name} printed something else than under the others")
    return problems


def main():
    options = parse_arguments()
    workloads = programs.all_workloads(options.scale)
    if options.list:
        print("\n".join(workloads))
        return 0
    chosen = choose(workloads, options)
    if options.allocators:
        names = options.allocators.split(",")
    else:
        names = ["glibc", "mpmm"] if options.demo else measure.ALLOCATORS
    libraries, missing = measure.find_allocators(names, options.mpmm)
    for reason in missing:
        print(f"skipped: {reason}", file=sys.stderr)
    if not libraries or (options.demo and not {"glibc", "mpmm"} <= set(libraries)):
        raise SystemExit("nothing to compare")

    runner = measure.Runner(options.bin)
    try:
        runs = run_all(runner, chosen, libraries, options.rounds)
    finally:
        runner.close()

    problems = find_problems(runs)
    if options.demo:
        print(report.demo_table(runs))
    else:
        allocators = list(libraries)
        notes = [
            f"Medians of {options.rounds} rounds; {os.cpu_count()} processors, {platform.machine()}.",
            "Versions: " + ", ".join(f"{name} {version}" for name, version in measure.package_versions().items()) + ".",
            *(f"Skipped: {reason}." for reason in missing),
            *(f"Problem: {name}: {what}" for name, found in problems.items() for what in found),
        ]
        text = report.markdown(runs, allocators, notes)
        print(text)
        out = pathlib.Path(options.out)
        out.mkdir(parents=True, exist_ok=True)
        (out / "results.md").write_text("# Allocators compared\n\n" + text, encoding="utf-8")
        content = {
            "rounds": options.rounds,
            "scale": options.scale,
            "libraries": libraries,
            "notes": notes,
            "runs": {
                name: {allocator: [dataclasses.asdict(result) for result in results] for allocator, results in row.items()}
                for name, row in runs.items()
            },
        }
        (out / "results.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        if "glibc" in allocators and len(allocators) > 1 and not report.plot(runs, allocators, out / "results.svg"):
            print("matplotlib is not installed: no plot", file=sys.stderr)

    for allocator, found in problems.items():
        for what in found:
            print(f"problem: {allocator}: {what}", file=sys.stderr)
    # A peer's failure is reported but is not ours; everything else has to work.
    return 1 if any(allocator not in measure.PEERS for allocator in problems) else 0


if __name__ == "__main__":
    sys.exit(main())
