# SPDX-License-Identifier: Apache-2.0
"""Bugs on purpose: each must be found by its fuzz target within a minute, from the corpus. A file lists them as
[{"target", "file", "before", "after", "why"}]; `before` occurs once in the file. "preset": that of another build than fuzz."""
import json
import os

import steps
import tree as trees

SECONDS = 60


def read(path, project):
    bugs = json.loads(path.read_text())
    for bug in bugs:
        times = (project / bug["file"]).read_text().count(bug["before"])
        if times != 1 or bug["before"] == bug["after"]:
            raise ValueError(f"{bug['file']}: {times} times in it: {bug['before']}")
    return bugs


def preset_of(bug):
    return bug.get("preset", "fuzz")


class Hunt:
    def __init__(self, project, home):
        self.tree = trees.Tree(project, home, os.cpu_count() or 1)
        self.tree.synchronise()
        self.configured = set()

    def configure(self, preset):
        if preset not in self.configured:
            ended = trees.run(["cmake", "--preset", preset], self.tree.source, trees.BUILD_SECONDS)
            if not ended.ok:
                raise RuntimeError(f"cmake failed:\n{ended.output[-3000:]}")
            self.configured.add(preset)

    def run(self, preset, target, *options):
        """Builds and runs a target from the corpus as it is."""
        self.configure(preset)
        build = self.tree.source / "build" / preset
        command = ["cmake", "--build", build, "--target", target]
        ended = trees.run(command, self.tree.work, trees.BUILD_SECONDS)
        if not ended.ok:
            raise RuntimeError(f"{target} does not compile:\n{ended.output[-3000:]}")
        found, corpus = self.tree.empty("found"), self.tree.source / "fuzz/corpus" / target.removesuffix("_verify")
        folders = [found, corpus] if corpus.is_dir() else [found]
        command = [build / "bin" / target, *steps.FUZZER, f"-artifact_prefix={self.tree.work}/", *options, *folders]
        return trees.run(command, self.tree.work, SECONDS + 120)

    def check(self, preset, target):
        """Without a bug there must be nothing to find."""
        ended = self.run(preset, target, "-runs=0")
        if not ended.ok:
            raise RuntimeError(f"{target} fails without a bug:\n{ended.output[-3000:]}")

    def seconds(self, bug):
        """Until it was found, or None."""
        content = (self.tree.project / bug["file"]).read_text().replace(bug["before"], bug["after"])
        self.tree.write(bug["file"], content.encode())
        try:
            ended = self.run(preset_of(bug), bug["target"], f"-max_total_time={SECONDS}")
        finally:
            self.tree.restore(bug["file"])
        return None if ended.ok else ended.seconds


def main(project, home, path):
    bugs = read(path, project)
    hunt = Hunt(project, home)
    for preset, target in sorted({(preset_of(bug), bug["target"]) for bug in bugs}):
        hunt.check(preset, target)
    print(f"{'target':24} {'found after':>12}  bug")
    missed = 0
    for bug in bugs:
        seconds = hunt.seconds(bug)
        missed += seconds is None
        print(f"{bug['target']:24} {'not found' if seconds is None else f'{seconds:.1f} s':>12}  {bug['file']}: {bug['why']}", flush=True)
    print(f"{len(bugs) - missed} of {len(bugs)} found")
    return 1 if missed else 0
