#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Mutation testing: changes the allocator's sources in one place at a time, and sees whether tests, properties or fuzzers notice.

Without options: a sample over all layers and operators, and every memory order that can be weaker. What was judged is kept in
tests/mutate/results.jsonl and not judged again while the sources are the same; docs/mutation.md is written when all is done.
"""
import argparse
import collections
import dataclasses
import fcntl
import json
import os
import pathlib
import sys
import threading
import time

sys.dont_write_bytecode = True  # the source tree stays as it is

import mutant as mutants
import orders as weaker
import results as store
import seeded
import tree as trees
import worker as workers

PROJECT = pathlib.Path(__file__).resolve().parents[2]
HOME = PROJECT / "build/mutate"
SAMPLE = 180


def all_mutants(project=PROJECT, home=HOME):
    """The list, which is made anew when the sources are others."""
    names = [n for n in trees.project_files(project) if n.startswith(("src/", "include/", "tests/mutate/generate.py"))]
    source = trees.digest(project, names)
    cache = home / "mutants.json"
    if cache.exists():
        known = json.loads(cache.read_text())
        if known["source"] == source:
            return [mutants.Mutant(**fields) for fields in known["mutants"]]
    from generate import Generator  # needs libclang, and nothing else does

    print("parsing the sources ...", file=sys.stderr)
    found = Generator(project).run()
    home.mkdir(parents=True, exist_ok=True)
    cache.write_text(json.dumps({"source": source, "mutants": [dataclasses.asdict(m) for m in found]}))
    return found


def chosen(found, options):
    """The mutants of this run, those of one file together: they build the least."""
    if options.only:
        found = [m for m in found if any(m.matches(word) for word in options.only)]
    if not options.all and not (options.only and options.sample is None):
        orders = [] if options.sample is not None else [m for m in found if m.operator == "order"]
        found = {*mutants.spread(found, options.sample or SAMPLE, options.seed), *orders}
    return sorted(found, key=lambda m: (m.file, m.start, m.id))


def known_of(selected, results):
    """What was judged already, by mutants' ids."""
    sources = {name: trees.digest(PROJECT, [name]) for name in {m.file for m in selected}}
    tree = trees.digest(PROJECT, trees.judges(PROJECT))
    equivalent = store.equivalents(reasons())
    return {m.id: result for m in selected if (result := results.known(m, sources[m.file], tree, equivalent)) is not None}


def reasons():
    return store.read_reasons(PROJECT / "tests/mutate/survivors.json")


def clock(seconds):
    return f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02}:{int(seconds) % 60:02}"


class Run:
    """Several workers take mutants from one queue until it is empty or the time is over."""

    def __init__(self, selected, todo, results, options):
        self.all_orders = [m for m in selected if m.operator == "order"]
        self.orders = [m for m in todo if m.operator == "order"]
        self.todo, self.results = collections.deque(self.orders), results
        self.others = [m for m in todo if m.operator != "order"]
        self.jobs = min(options.jobs, len(todo))
        self.end = time.monotonic() + options.minutes * 60
        self.lock, self.started, self.done, self.total = threading.Lock(), time.monotonic(), [], len(todo)
        self.failures = []

    def go(self):
        if self.orders:
            # With those that are known: another run goes on with the same build.
            print(f"building {len(self.all_orders)} weaker memory orders at once ...", flush=True)
            judge = weaker.Orders(PROJECT, HOME / "orders", self.all_orders, os.cpu_count() or 1)
            judge.build()
            self.at_once(lambda number: lambda mutant: judge.judge(mutant, number))
        self.todo.extend(self.others)
        cores = max(1, (os.cpu_count() or 1) // max(1, self.jobs))
        self.at_once(lambda number: workers.Worker(PROJECT, HOME / str(number), cores).judge)

    def at_once(self, judge_of):
        """Several threads take mutants from the queue; judge_of(number) is what each of them judges by."""
        threads = [threading.Thread(target=self.work, args=(judge_of, number), daemon=True) for number in range(self.jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.failures:
            raise self.failures[0]

    def work(self, judge_of, number):
        try:
            judge = None
            while not self.failures and time.monotonic() < self.end:
                with self.lock:
                    if not self.todo:
                        return
                    mutant = self.todo.popleft()
                judge = judge or judge_of(number)
                self.tell(mutant, judge(mutant))
        except Exception as error:  # told by the thread that waits
            self.failures.append(error)

    def tell(self, mutant, result):
        self.results.add(result)
        with self.lock:
            self.done.append(result)
            left = (time.monotonic() - self.started) / len(self.done) * (self.total - len(self.done))
            by = f"{result.step}: {result.by}" if result.by else ""
            print(
                f"[{len(self.done)}/{self.total}] {result.outcome:9} {mutant.id} {by} ({result.seconds:.0f} s) "
                f"score {store.Score(self.done).percent}, left {clock(left)}",
                flush=True,
            )


def write_report(selected, found, path):
    measured = [json.loads(file.read_text()) for file in HOME.glob("*/baseline.json")]
    left_out = {name.split()[-1] for baseline in measured for name, seconds in baseline.items() if seconds is None}
    path.write_text(store.report(found, reasons(), len(selected), left_out))
    print(f"written: {path}")


def parse(arguments):
    parser = argparse.ArgumentParser(prog="ci/mutate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="print the mutants of the run and what is known of them")
    parser.add_argument("--only", action="append", metavar="WORD", help="those with this id, layer, operator or file; may be repeated")
    parser.add_argument("--sample", type=int, metavar="N", help=f"so many, spread over layers and operators (default {SAMPLE}, and all orders)")
    parser.add_argument("--all", action="store_true", help="every mutant there is")
    parser.add_argument("--seed", default="1", help="of the sample (default %(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="mutants at a time (default %(default)s)")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no mutant after so long")
    parser.add_argument("--again", action="store_true", help="judge those that are known too")
    parser.add_argument("--report", action="store_true", help="write docs/mutation.md from what is known of the default run, or of --all")
    parser.add_argument("--seeded", metavar="FILE", help="instead: bugs, each of which a fuzzer must find within a minute")
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse(arguments)
    if options.seeded:
        return seeded.main(PROJECT, HOME / "seeded", pathlib.Path(options.seeded))
    if options.report:
        options.only = options.sample = None
    selected = chosen(all_mutants(), options)
    if not selected:
        print("no such mutant", file=sys.stderr)
        return 2
    results = store.Results(PROJECT / "tests/mutate/results.jsonl")
    known = known_of(selected, results)
    page = PROJECT / "docs/mutation.md"
    if options.list:
        for m in selected:
            outcome = known[m.id].outcome if m.id in known else "-"
            print(f"{m.id:60} {outcome:9} {mutants.flat(m.original)}  ->  {mutants.flat(m.mutated) or 'nothing'}")
        return 0
    if options.report:
        write_report(selected, known.values(), page)
        return 0
    todo = [m for m in selected if options.again or m.id not in known]
    print(f"{len(selected)} mutants, {len(selected) - len(todo)} of them known")
    with open(HOME / "lock", "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another run is at work here", file=sys.stderr)
            return 2
        Run(selected, todo, results, options).go()
    found = known_of(selected, results).values()
    if len(found) == len(selected) and not options.only and options.sample is None:
        write_report(selected, found, page)
    print(f"score {store.Score(found).percent} of {len(found)} judged mutants; ci/mutate --report writes the page")
    return 0


if __name__ == "__main__":
    sys.exit(main())
