# SPDX-License-Identifier: Apache-2.0
"""Judges one mutant after the other in a tree of its own."""
import json
import re
import sys
import time

import steps
import tree as trees
from results import Result

# The libraries as they are shipped: what leaves all of them the same changes nothing for anybody.
LIBRARIES = ["mpmm_objects", "mpmm_verify_objects", "mpmm_malloc_objects", "mpmm_malloc_verify_objects"]


def execute(step, tree, work, seconds, environment=None):
    """Runs what a step has built, in the folder `work`."""
    trees.emptied(work / "found")
    words = [word.format(source=tree.source, work=work) for word in step.command]
    words[0] = str(tree.home / step.tree / "bin" / words[0])
    trees.emptied(work / steps.ARTIFACTS)
    environment = {**dict(step.environment), **(environment or {})}
    ended = trees.run(words, work, seconds, environment)
    inputs = list((work / steps.ARTIFACTS).iterdir())
    if ended.ok or not inputs:
        return ended
    # What a fuzzer found must fail by itself too: otherwise it tells of all the runs before it, and may do so without any mutant.
    return trees.run([words[0], *inputs], work, seconds, environment)


class Worker:
    def __init__(self, project, home, jobs):
        self.tree = trees.Tree(project, home, jobs)
        self.tree.synchronise()
        self.digest = trees.digest(project, trees.judges(project))
        self.configured = set()
        self.baseline_file = home / "baseline.json"
        known = json.loads(self.baseline_file.read_text()) if self.baseline_file.exists() else {}
        self.baseline = known if known.get("digest") == self.digest else {"digest": self.digest}
        self.mutant = None

    # ---- builds ----

    def build(self, tree, targets):
        if tree not in self.configured:
            self.tree.configure(tree, *steps.CONFIGURATION, *steps.TREES[tree])
            self.configured.add(tree)
        return self.tree.ninja(tree, targets)

    def link(self, step):
        build = self.tree.home / step.tree
        objects = [step.unit, *trees.objects_of(build, step.library)]
        command = ["clang++-19", "-o", f"bin/{step.command[0]}", *objects, "-lgtest_main", "-lgtest", "-lpthread", "-ldl"]
        return trees.run(command, build, trees.BUILD_SECONDS)

    def made(self, step):
        """Builds what a step needs."""
        ended = self.build(step.tree, step.targets)
        return self.link(step) if ended.ok and step.unit else ended

    # ---- the sources as they are ----

    def unmutated(self, name, measure):
        """What measure() says of the sources as they are, measured once."""
        if name not in self.baseline:
            mutant, self.mutant = self.mutant, None
            self.put(None, mutant)
            self.baseline[name] = measure()
            self.baseline_file.write_text(json.dumps(self.baseline))
            self.put(mutant, None)
        return self.baseline[name]

    def limit(self, step):
        """The seconds a step may take; None for a fuzzer that finds something without any mutant, and tells nothing then."""

        def measure():
            ended = self.made(step)
            if ended.ok:
                ended = self.execute(step, trees.BUILD_SECONDS)
                if not ended.ok and step.tree == "fuzz":
                    print(f"{step.name} is left out: it fails without any mutant: {how_it_ended(ended)}", file=sys.stderr)
                    return None
            if not ended.ok:
                raise RuntimeError(f"{step.name} fails without any mutant:\n{ended.output[-3000:]}")
            return ended.seconds

        seconds = self.unmutated(f"{step.tree} {step.name}", measure)
        return None if seconds is None else 3 * seconds + 30

    def changes(self, library):
        """Whether the mutant changes an object library's machine code."""

        def measure():
            if not (ended := self.build("plain", [library])).ok:
                raise RuntimeError(f"{library} does not compile without any mutant:\n{ended.output[-3000:]}")
            return self.tree.code("plain", library)

        same = self.unmutated(f"code of {library}", measure)
        return not self.build("plain", [library]).ok or self.tree.code("plain", library) != same

    # ---- one mutant ----

    def put(self, mutant, instead):
        """Takes one mutant out and puts another in."""
        for changed in {m.file for m in (mutant, instead) if m is not None}:
            content = (self.tree.project / changed).read_bytes()
            self.tree.write(changed, mutant.apply(content) if mutant is not None and mutant.file == changed else content)
        self.mutant = mutant

    def execute(self, step, seconds):
        return execute(step, self.tree, self.tree.work, seconds)

    def judge(self, mutant):
        started = time.monotonic()
        self.put(mutant, self.mutant)
        outcome, step, by = self.verdict(mutant)
        source, seconds = trees.digest(self.tree.project, [mutant.file]), round(time.monotonic() - started, 1)
        return Result(mutant.id, source, self.digest, mutant.layer, mutant.operator, mutant.key, outcome, step, by, seconds)

    def verdict(self, mutant):
        name, changed = "", {}
        for step in steps.steps(mutant):
            name = step.name
            if (seconds := self.limit(step)) is None:
                continue
            ended = self.made(step)
            if not ended.ok:
                if "static assertion failed" in ended.output:
                    return "killed", name, "static_assert"
                return "stillborn", name, first_error(ended.output)
            if step.library and not step.unit and step.tree == "plain":
                if step.library not in changed:
                    changed[step.library] = self.changes(step.library)
                if not changed[step.library]:
                    continue
            ended = self.execute(step, seconds)
            if not ended.ok:
                return "killed", name, how_it_ended(ended)
        if any(self.changes(library) for library in LIBRARIES):
            return "survived", name, ""
        return "unchanged", name, ""


def first_error(output):
    found = re.search(r"error: (.*)", output)
    return found.group(1)[:120] if found else "it does not build"


def how_it_ended(ended):
    if ended.status is None:
        return "a hang"
    found = re.search(r"\[  FAILED  \] ([\w./]+)", ended.output) or re.search(r"(?:FAILED|ERROR): (.{1,80})", ended.output)
    if found:
        return found.group(1)
    return f"signal {ended.status - 128}" if ended.status > 128 else f"status {ended.status}"
