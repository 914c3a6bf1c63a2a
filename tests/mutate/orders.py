# SPDX-License-Identifier: Apache-2.0
"""Judges weaker memory orders. All are built at once, and a variable of the environment says which one is at work: what a weaker order does to
machine code is of no interest, only whether somebody notices who knows what it allows: schedules with old values, and ThreadSanitizer."""
import collections
import json
import re
import sys
import time

import steps
import tree as trees
from results import Result
from worker import execute, how_it_ended


def mutated_call(mutant, text, number):
    """The mutant's place with both orders in it; `text` is what is there by now."""
    if not mutant.original.endswith(")"):
        return f"mutated::order({text}, {number}, {mutant.mutated})"
    # A call that names no order.
    given = re.search(r"(mpmm::\w+)\)$", mutant.mutated)
    return f"{mutant.mutated[: given.start()]}mutated::order(mpmm::seq_cst, {number}, {given.group(1)}))"


def sources_with_all(project, mutants):
    """The content of every file that has mutants, with all of them in it, by number from 1 on."""
    places = collections.defaultdict(dict)
    for number, mutant in enumerate(mutants, 1):
        at = places[mutant.file]
        at[mutant.start] = mutant, mutated_call(mutant, at[mutant.start][1] if mutant.start in at else mutant.original, number)
    contents = {}
    for file, at in places.items():
        content = (project / file).read_bytes()
        for start in sorted(at, reverse=True):
            mutant, text = at[start]
            content = content[:start] + text.encode() + content[start + len(mutant.original.encode()) :]
        contents[file] = content
    return contents


class Orders:
    def __init__(self, project, home, mutants, jobs):
        self.project, self.home = project, home
        self.numbers = {mutant.id: number for number, mutant in enumerate(mutants, 1)}
        self.steps = {step.name: step for mutant in mutants for step in steps.order_steps(mutant)}
        self.tree = trees.Tree(project, home, jobs)
        self.tree.synchronise(sources_with_all(project, mutants))
        self.digest = trees.digest(project, trees.judges(project))
        self.limits_file, self.limits = home / "limits.json", {}

    def build(self):
        """Everything, once; and what each step takes without any mutant."""
        header = self.tree.source / "tests/mutate/mutated.hpp"
        options = [o + f" -include {header}" if o.startswith("-DCMAKE_CXX_FLAGS=") else o for o in steps.CONFIGURATION]
        for name in sorted({step.tree for step in self.steps.values()}):
            self.tree.configure(name, *options, *steps.TREES[name])
            ended = self.tree.ninja(name, [target for step in self.steps.values() if step.tree == name for target in step.targets])
            if not ended.ok:
                raise RuntimeError(f"the weaker orders do not compile:\n{ended.output[-3000:]}")
        known = json.loads(self.limits_file.read_text()) if self.limits_file.exists() else {}
        self.limits = known["limits"] if known.get("digest") == self.digest else {}
        for step in self.steps.values():
            if step.name not in self.limits:
                ended = self.execute(step, 0, self.tree.work, trees.BUILD_SECONDS)
                # A fuzzer that finds something without any mutant tells nothing.
                if not ended.ok and not step.name.startswith("fuzz_"):
                    raise RuntimeError(f"{step.name} fails without any mutant:\n{ended.output[-3000:]}")
                self.limits[step.name] = 3 * ended.seconds + 30 if ended.ok else None
                self.limits_file.write_text(json.dumps({"digest": self.digest, "limits": self.limits}))
            if self.limits[step.name] is None:
                print(f"{step.name} is left out: it fails without any mutant", file=sys.stderr)

    def execute(self, step, number, work, seconds):
        return execute(step, self.tree, work, seconds, {"MPMM_MUTANT": str(number)})

    def judge(self, mutant, runner):
        started = time.monotonic()
        outcome, by, name = "survived", "", ""
        for step in steps.order_steps(mutant):
            if self.limits[step.name] is None:
                continue
            name = step.name
            ended = self.execute(step, self.numbers[mutant.id], self.home / f"work{runner}", self.limits[name])
            if not ended.ok:
                outcome, by = "killed", how_it_ended(ended)
                break
        source, seconds = trees.digest(self.project, [mutant.file]), round(time.monotonic() - started, 1)
        return Result(mutant.id, source, self.digest, mutant.layer, mutant.operator, mutant.key, outcome, name, by, seconds)
