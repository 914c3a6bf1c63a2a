#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What verify mode costs: time and peak memory over release, for real programs; for our own workloads also AddressSanitizer and Valgrind.

Every round runs each workload under each tool, one right after the other; reported are ratios of medians. AddressSanitizer means the same
program built with it by clang, with its own allocator. Valgrind's memory is that of the whole process, the tool included.

Usage: verify_cost.py [--rounds N] [--only A,B] [--options MPMM_OPTIONS] [--scale FACTOR]
"""
import argparse
import os
import pathlib
import statistics
import subprocess
import sys

sys.dont_write_bytecode = True  # the source tree stays as it is

import measure
import programs
import report

SOURCE = pathlib.Path(__file__).resolve().parent
REAL = ["python", "python_malloc", "sqlite3", "lua", "perl", "xz", "g++", "redis"]
OWN = ["tree_build", "random_replace", "realloc_grow", "producer_consumer", "size_drift"]
OUT = pathlib.Path("build/bench")


def build_with_asan(names):
    """{workload: program built with AddressSanitizer}"""
    built = {}
    for name in names:
        program = OUT / f"asan_{name}"
        command = ["clang++-19", "-std=c++20", "-O2", "-g1", "-fsanitize=address", "-fno-omit-frame-pointer", "-pthread"]
        subprocess.run([*command, f"-I{SOURCE.parent}", str(SOURCE / f"{name}.cpp"), "-o", str(program)], check=True)
        built[name] = program.resolve()
    return built


def ratios(rows, tools):
    """{workload: {tool: (time, memory) over release}}"""
    result = {}
    for name, runs in rows.items():
        base = [statistics.median(getattr(run, quantity) for run in runs["release"]) for quantity in ("cpu", "peak")]
        result[name] = {
            tool: tuple(statistics.median(getattr(run, q) for run in runs[tool]) / b for q, b in zip(("cpu", "peak"), base)) for tool in tools if runs.get(tool)
        }
    return result


def table(title, rows, tools):
    shown = ratios(rows, tools)
    lines = [[name, *(f"{of[tool][0]:.2f} / {of[tool][1]:.2f}" if tool in of else "-" for tool in tools)] for name, of in shown.items()]
    means = []
    for tool in tools:
        pairs = [of[tool] for of in shown.values() if tool in of]
        means.append(" / ".join(f"{report.geometric_mean(values):.2f}" for values in zip(*pairs)) if pairs else "-")
    lines.append(["**geometric mean**", *(f"**{mean}**" for mean in means)])
    return f"### {title}\n\n" + report.table(["time / peak memory over release", *tools], lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(REAL + OWN))
    parser.add_argument("--options", default="", help="MPMM_OPTIONS for verify")
    parser.add_argument("--scale", type=float, default=0.05, help="amount of work in our own workloads: Valgrind is slow")
    arguments = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    wanted = arguments.only.split(",")
    libraries, missing = measure.find_allocators(["mpmm", "mpmm_verify"], measure.MPMM)
    if missing:
        raise SystemExit("; ".join(missing))
    runner = measure.Runner(measure.BINARIES)
    failed = []

    def run(name, tool, action):
        result = action()
        if result.status != 0:
            failed.append(f"{name} under {tool} ended with {result.status}: {result.error}")
        print(f"{name} {tool}: {result.cpu:.2f} s, {result.peak / 2**20:.0f} MiB", file=sys.stderr, flush=True)
        return result

    real = {name: {} for name in REAL if name in wanted}
    own = {name: {} for name in OWN if name in wanted}
    asan = build_with_asan(own)
    workloads = programs.all_workloads(1.0)
    small = programs.all_workloads(arguments.scale)
    # Release takes the same settings and leaves verify's alone. What the programs leak is not the question.
    os.environ.update(MPMM_OPTIONS=arguments.options, ASAN_OPTIONS="detect_leaks=0")
    try:
        for _ in range(arguments.rounds):
            for name, runs in real.items():
                runs.setdefault("release", []).append(run(name, "release", lambda n=name: workloads[n].run(runner, libraries["mpmm"])))
                runs.setdefault("verify", []).append(run(name, "verify", lambda n=name: workloads[n].run(runner, libraries["mpmm_verify"])))
            for name, runs in own.items():
                program = runner.binaries / f"bench_{name}"
                runs.setdefault("release", []).append(run(name, "release", lambda n=name: small[n].run(runner, libraries["mpmm"])))
                runs.setdefault("verify", []).append(run(name, "verify", lambda n=name: small[n].run(runner, libraries["mpmm_verify"])))
                runs.setdefault("AddressSanitizer", []).append(run(name, "AddressSanitizer", lambda n=name: runner.run([asan[n], arguments.scale], "")))
                runs.setdefault("Valgrind", []).append(run(name, "Valgrind", lambda p=program: runner.run(["valgrind", "-q", p, arguments.scale], "")))
    finally:
        runner.close()
    text = "\n".join(
        part
        for part in [
            table("Real programs", real, ["verify"]) if real else "",
            table("Our own workloads", own, ["verify", "AddressSanitizer", "Valgrind"]) if own else "",
            "".join(f"- Problem: {what}\n" for what in failed),
        ]
        if part
    )
    (OUT / "verify.md").write_text(text, encoding="utf-8")
    print(text)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
