#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests of ci/mutate itself: mutants, the judgement over them and over bugs on purpose in a small project, results, score and page.

What needs clang's parser is skipped where it is not installed.
"""
import contextlib
import dataclasses
import importlib.util
import io
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

sys.dont_write_bytecode = True  # the source tree stays as it is

import mutant as mutants
import mutate
import orders as weaker
import results as store
import seeded
import steps
import tree as trees
import worker as workers

SOURCE = """\
#include "sum.hpp"
int sum(int last) {
    int total = 0, i = 0;
    while (i <= last) total += i++;
    if (total < 0) total = 0;
    return total;
}
"""
PROJECT = {
    "CMakeLists.txt": """\
cmake_minimum_required(VERSION 3.25)
project(small LANGUAGES CXX)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
add_subdirectory(src)
if(FUZZ)
    add_executable(fuzz_sum fuzz.cpp $<TARGET_OBJECTS:mpmm_objects>)
    target_link_options(fuzz_sum PRIVATE -fsanitize=fuzzer)
else()
    add_executable(sum_test test.cpp $<TARGET_OBJECTS:mpmm_objects>)
endif()
""",
    "CMakePresets.json": """\
{"version": 6, "configurePresets": [{"name": "fuzz", "generator": "Ninja", "binaryDir": "${sourceDir}/build/fuzz",
  "cacheVariables": {"CMAKE_CXX_COMPILER": "clang++-19", "CMAKE_CXX_FLAGS": "-fsanitize=fuzzer-no-link", "FUZZ": "ON"}}]}
""",
    "src/CMakeLists.txt": "add_library(mpmm_objects OBJECT sum.cpp)\n",
    "src/sum.hpp": "#pragma once\nint sum(int last);\n",
    "src/sum.cpp": SOURCE,
    "test.cpp": '#include "src/sum.hpp"\nint main() { return sum(4) == 10 ? 0 : 1; }\n',
    "fuzz.cpp": """\
#include "src/sum.hpp"
extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, unsigned long size) {
    if (size > 0 && sum(data[0]) != data[0] * (data[0] + 1) / 2) __builtin_trap();
    return 0;
}
""",
}


def make_project(folder):
    for name, text in PROJECT.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    subprocess.run(["git", "init", "-q", folder], check=True)
    return folder


def mutant_at(before, after, operator="test", text=SOURCE, file="src/sum.cpp"):
    start = text.index(before)
    line = text.count("\n", 0, start) + 1
    column = start - text.rfind("\n", 0, start)
    lines = mutants.lines_of(text.encode(), start, start + len(before), after)
    return mutants.Mutant(file, line, column, operator, "sum", start, before, after, *lines)


def result_of(mutant, outcome):
    return store.Result(mutant.id, "file", "tree", mutant.layer, mutant.operator, mutant.key, outcome, "unit", "Suite.Test", 1.0)


class WithFolder(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)


class Mutants(unittest.TestCase):
    def test_applied_in_one_place(self):
        changed = mutant_at("i <= last", "i < last").apply(SOURCE.encode()).decode()
        self.assertEqual(changed, SOURCE.replace("i <= last", "i < last"))

    def test_refuses_another_source(self):
        with self.assertRaises(ValueError):
            mutant_at("i <= last", "i < last").apply(SOURCE.replace("<=", "!=").encode())

    def test_key_stays_when_lines_move(self):
        moved = "// one more line\n" + SOURCE
        one, other = mutant_at("total < 0", "total > 0"), mutant_at("total < 0", "total > 0", text=moved)
        self.assertNotEqual(one.id, other.id)
        self.assertEqual(one.key, other.key)
        self.assertEqual(one.key, ("src/sum.cpp", "sum", "if (total < 0) total = 0;", "if (total > 0) total = 0;"))

    def test_sample_takes_turns(self):
        many = [dataclasses.replace(mutant_at("0", "1", op), file=f"src/{layer}/x.cpp", line=line)
                for layer, count in (("a", 50), ("b", 3), ("c", 20)) for op in ("drop", "skip") for line in range(count)]  # fmt: skip
        small, large = mutants.spread(many, 6, "1"), mutants.spread(many, 30, "1")
        self.assertEqual(small, large[:6])
        self.assertEqual({(m.layer, m.operator) for m in small}, {(layer, op) for layer in "abc" for op in ("drop", "skip")})
        self.assertEqual(sum(m.layer == "b" for m in large), 6)
        self.assertNotEqual(small, mutants.spread(many, 6, "2"))
        self.assertEqual(len(mutants.spread(many, 1000, "1")), len(many))

    def test_default_run_has_every_order(self):
        many = [dataclasses.replace(mutant_at("0", "1", op), line=line) for op in ("order", "drop") for line in range(500)]
        selected = mutate.chosen(many, mutate.parse([]))
        self.assertEqual(sum(m.operator == "order" for m in selected), 500)
        self.assertEqual(sum(m.operator == "drop" for m in selected), mutate.SAMPLE // 2)
        self.assertEqual(len(mutate.chosen(many, mutate.parse(["--only", "drop"]))), 500)
        self.assertEqual(len(mutate.chosen(many, mutate.parse(["--only", "order", "--sample", "7"]))), 7)


@unittest.skipUnless(importlib.util.find_spec("clang"), "python3-clang-19 is not installed")
class Generator(WithFolder):
    def changes(self, text):
        import generate

        (self.folder / "src/platform").mkdir(parents=True)
        (self.folder / "src/platform/atomics.hpp").write_text(
            "#pragma once\nnamespace mpmm {\nenum memory_order { relaxed, acquire, release, seq_cst };\n"
            "template <class T> struct Atomic { T load(memory_order = seq_cst); void store(T, memory_order = seq_cst); };\n}\n"
        )
        (self.folder / "src/x.cpp").write_text('#include "platform/atomics.hpp"\nusing namespace mpmm;\n' + text)
        found = [m for m in generate.Generator(self.folder).run() if m.file == "src/x.cpp"]
        for m in found:
            m.apply((self.folder / m.file).read_bytes())
        return sorted((m.operator, m.after) for m in found)

    def test_conditions_and_statements(self):
        changes = self.changes("void g();\ntemplate <class T> void f(T a, int b) {\n    if (a && b < 3)\n        g();\n}\n")
        self.assertEqual(changes, sorted([
            ("negate", "if (!(a && b < 3))"), ("skip", "if (false)"), ("skip", "if (true && b < 3)"), ("skip", "if (a && true)"),
            ("logic", "if (a || b < 3)"), ("boundary", "if (a && b <= 3)"), ("constant", "if (a && b < 4)"), ("drop", "(void)0;"),
        ]))  # fmt: skip

    def test_orders(self):
        changes = self.changes("int f(Atomic<int>& a) {\n    a.store(a.load(acquire), release);\n    a.store(2);\n    return a.load(relaxed);\n}\n")
        self.assertEqual([c for c in changes if c[0] == "order"], sorted([
            ("order", "a.store(a.load(relaxed), release);"), ("order", "a.store(a.load(acquire), relaxed);"),
            ("order", "a.store(2, mpmm::release);"),
        ]))  # fmt: skip

    def test_what_says_nothing_stays(self):
        changes = self.changes("static_assert(sizeof(int) == 4);\nint f(int x) {\n    switch (x) {\n        case 1: return 5;\n    }\n    return x;\n}")
        self.assertEqual(changes, [("constant", "case 1: return 6;")])


class Programs(WithFolder):
    def test_how_they_end(self):
        self.assertTrue(trees.run(["true"], self.folder, 60).ok)
        self.assertEqual(workers.how_it_ended(trees.run(["sh", "-c", "exit 3"], self.folder, 60)), "status 3")
        self.assertEqual(workers.how_it_ended(trees.run(["sh", "-c", "kill -ABRT $$"], self.folder, 60)), "signal 6")
        self.assertEqual(workers.how_it_ended(trees.run(["sleep", "1000"], self.folder, 0.1)), "a hang")
        failed = trees.run(["echo", "[  FAILED  ] Heap.Grows (1 ms)"], self.folder, 60)
        self.assertEqual(workers.how_it_ended(failed), "Heap.Grows")

    def test_what_a_fuzzer_finds_fails_by_itself_too(self):
        tree = trees.Tree(self.folder, self.folder / "home")
        program = trees.emptied(tree.home / "fuzz/bin") / "fuzz_sum"
        program.write_text('#!/bin/sh\nfor word; do case $word in -artifact_prefix=*) echo x > "${word#*=}crash-1"; exit 1;; esac; done\nexit $ALONE\n')
        program.chmod(0o755)
        for alone in (True, False):
            ended = workers.execute(steps.fuzz("fuzz_sum", 1), tree, tree.work, 60, {"ALONE": str(int(alone))})
            self.assertEqual(ended.ok, not alone)

    def test_they_signal_nobody_else(self):
        bystander = subprocess.Popen(["sleep", "1000"])
        try:
            trees.run(["sh", "-c", f"kill -9 {bystander.pid}; kill -9 -1"], self.folder, 60)
            self.assertIsNone(bystander.poll())
        finally:
            bystander.kill()
            bystander.wait()


class Judgement(WithFolder):
    def test_mutants_of_a_small_project(self):
        project = make_project(self.folder / "project")
        step = steps.Step("sum_test", "plain", ("sum_test",), ("sum_test",))
        with mock.patch.object(steps, "steps", lambda mutant: [step]), mock.patch.object(workers, "LIBRARIES", ["mpmm_objects"]):
            worker = workers.Worker(project, self.folder / "home", 1)
            copy = worker.tree.source / "src/sum.cpp"
            for before, after, outcome, by in [
                ("i <= last", "i < last", "killed", "status 1"),
                ("last)", "lost)", "stillborn", "use of undeclared identifier 'last'; did you mean 'lost'?"),
                ("int sum", "static_assert(1 == 2);\nint sum", "killed", "static_assert"),
                ("return total", "return last == 5 ? 0 : total", "survived", ""),
                ("int total = 0, i", "int total = 0, j = 1, i", "unchanged", ""),
            ]:
                result = worker.judge(mutant_at(before, after))
                self.assertEqual((result.outcome, result.by), (outcome, by), before)
                self.assertEqual(copy.read_text(), SOURCE.replace(before, after, 1))
            # A loop without an end, which gets half a second.
            worker.baseline["plain sum_test"] = -9.8
            self.assertEqual(worker.judge(mutant_at("total += i++", 'asm volatile("")')).by, "a hang")
            worker.put(None, worker.mutant)
        self.assertEqual(copy.read_text(), SOURCE)
        self.assertEqual((project / "src/sum.cpp").read_text(), SOURCE)

    def test_fails_without_a_mutant(self):
        project = make_project(self.folder / "project")
        (project / "test.cpp").write_text("int main() { return 1; }\n")
        step = steps.Step("sum_test", "plain", ("sum_test",), ("sum_test",))
        fuzzer = dataclasses.replace(step, tree="fuzz")
        with mock.patch.dict(steps.TREES, fuzz=[]), mock.patch.object(workers, "LIBRARIES", ["mpmm_objects"]):
            worker = workers.Worker(project, self.folder / "home", 1)
            with mock.patch.object(steps, "steps", lambda mutant: [step]), self.assertRaisesRegex(RuntimeError, "fails without any mutant"):
                worker.judge(mutant_at("i <= last", "i < last"))
            told = io.StringIO()
            with mock.patch.object(steps, "steps", lambda mutant: [fuzzer]), contextlib.redirect_stderr(told):
                self.assertEqual(worker.judge(mutant_at("i <= last", "i < last")).outcome, "survived")
        self.assertIn("sum_test is left out: it fails without any mutant: status 1", told.getvalue())

    def test_a_changed_project_is_copied_again(self):
        project = make_project(self.folder / "project")
        tree = trees.Tree(project, self.folder / "home")
        tree.synchronise()
        times = (tree.source / "src/sum.cpp").stat().st_mtime_ns
        (project / "test.cpp").unlink()
        (project / "new.cpp").write_text("int x;\n")
        tree.synchronise()
        self.assertFalse((tree.source / "test.cpp").exists())
        self.assertEqual((tree.source / "new.cpp").read_text(), "int x;\n")
        self.assertEqual((tree.source / "src/sum.cpp").stat().st_mtime_ns, times)


ORDERS = """\
#include <atomic>
namespace mpmm {
inline constexpr auto relaxed = std::memory_order_relaxed, acquire = std::memory_order_acquire, acq_rel = std::memory_order_acq_rel;
inline constexpr auto seq_cst = std::memory_order_seq_cst;
}
using namespace mpmm;
std::atomic<int> word{1};
int looked_at() { return static_cast<int>(acquire); }
int not_looked_at() { return static_cast<int>(acq_rel); }
int sum(int) { return word.load(); }
"""


class WeakerOrders(WithFolder):
    def mutants(self):
        for before, after in [("acquire);", "relaxed"), ("acq_rel);", "acquire"), ("acq_rel);", "relaxed"), ("word.load()", "word.load(mpmm::acquire)")]:
            yield dataclasses.replace(mutant_at(before, after, "order", ORDERS), original=before.removesuffix(");"))

    def test_all_of_them_in_one_source(self):
        (self.folder / "src").mkdir()
        (self.folder / "src/sum.cpp").write_text(ORDERS)
        content = weaker.sources_with_all(self.folder, list(self.mutants()))["src/sum.cpp"].decode()
        self.assertIn("static_cast<int>(mutated::order(acquire, 1, relaxed))", content)
        self.assertIn("static_cast<int>(mutated::order(mutated::order(acq_rel, 2, acquire), 3, relaxed))", content)
        self.assertIn("word.load(mutated::order(mpmm::seq_cst, 4, mpmm::acquire))", content)

    def test_one_is_at_work(self):
        project = make_project(self.folder / "project")
        (project / "src/sum.cpp").write_text(ORDERS)
        (project / "test.cpp").write_text("#include <atomic>\nint looked_at();\nint main() { return looked_at() == int(std::memory_order_acquire) ? 0 : 1; }\n")
        (project / "tests/mutate").mkdir(parents=True)
        (project / "tests/mutate/mutated.hpp").write_text((pathlib.Path(__file__).parent / "mutated.hpp").read_text())
        many = list(self.mutants())
        step = steps.Step("sum_test", "plain", ("sum_test",), ("sum_test",))
        with mock.patch.object(steps, "order_steps", lambda mutant: [step]):
            judge = weaker.Orders(project, self.folder / "home", many, 1)
            judge.build()
            found = [judge.judge(mutant, 0) for mutant in many]
        self.assertEqual([r.outcome for r in found], ["killed", "survived", "survived", "survived"])
        self.assertEqual((found[0].step, found[0].by, found[0].id), ("sum_test", "status 1", many[0].id))


class BugsOnPurpose(WithFolder):
    def hunt(self, bugs):
        project = make_project(self.folder / "project")
        listed = self.folder / "bugs.json"
        listed.write_text(json.dumps(bugs))
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), mock.patch.object(seeded, "SECONDS", 1):
            status = seeded.main(project, self.folder / "home", listed)
        return status, printed.getvalue()

    def test_found_and_not_found(self):
        bug = {"target": "fuzz_sum", "file": "src/sum.cpp"}
        status, printed = self.hunt([
            {**bug, "before": "i <= last", "after": "i < last", "why": "one too few"},
            {**bug, "before": "total < 0", "after": "total < -1", "why": "makes no difference"},
        ])  # fmt: skip
        self.assertEqual(status, 1)
        self.assertRegex(printed, r"fuzz_sum +\d+\.\d s  src/sum.cpp: one too few")
        self.assertRegex(printed, r"fuzz_sum +not found  src/sum.cpp: makes no difference")
        self.assertIn("1 of 2 found", printed)

    def test_a_bug_that_is_nowhere(self):
        with self.assertRaisesRegex(ValueError, "0 times in it"):
            self.hunt([{"target": "fuzz_sum", "file": "src/sum.cpp", "before": "nowhere", "after": "x", "why": ""}])


class Results(WithFolder):
    def test_goes_on_where_it_stopped(self):
        path = self.folder / "results.jsonl"
        one, other = mutant_at("i <= last", "i < last"), mutant_at("total < 0", "total > 0")
        store.Results(path).add(result_of(one, "killed"))
        with open(path, "a") as file:
            file.write('{"id": "torn')
        results = store.Results(path)
        self.assertEqual(results.known(one, "file", "tree"), result_of(one, "killed"))
        self.assertIsNone(results.known(one, "another file", "tree"))
        self.assertIsNone(results.known(other, "file", "tree"))
        results.add(result_of(other, "survived"))
        # A new test may kill what lived, and what is dead stays dead.
        self.assertIsNotNone(results.known(one, "file", "another tree"))
        self.assertIsNotNone(results.known(other, "file", "tree"))
        self.assertIsNone(results.known(other, "file", "another tree"))
        self.assertIsNotNone(results.known(other, "file", "another tree", {other.key: "a reason"}))
        self.assertIsNone(results.known(other, "another file", "another tree", {other.key: "a reason"}))
        self.assertEqual(store.Results(path).all, {one.id: result_of(one, "killed"), other.id: result_of(other, "survived")})
        # No test can kill what is the same program.
        results.add(result_of(other, "unchanged"))
        self.assertIsNotNone(results.known(other, "file", "another tree"))

    def test_score(self):
        texts = ["i <= last", "total < 0", "total += i++", "total = 0;", "return total"]
        outcomes = ["killed", "survived", "stillborn", "survived", "unchanged"]
        found = [result_of(mutant_at(text, "x"), outcome) for text, outcome in zip(texts, outcomes)]
        score = store.Score(found)
        self.assertEqual((score.killed, score.survived, score.stillborn, score.equivalent, score.percent), (1, 2, 1, 1, "33.3 %"))
        score = store.Score(found, {found[1].key})
        self.assertEqual((score.survived, score.equivalent, score.percent), (1, 2, "50.0 %"))
        self.assertEqual(store.Score([]).percent, "-")

    def test_page(self):
        alike, open_one, dead = mutant_at("total < 0", "total <= 0"), mutant_at("total = 0;", "total = 1;"), mutant_at("i <= last", "i < last")
        reasons = {alike.key: ("equivalent", "zero stays zero"), dead.key: ("test", "Sum.Includes the last")}
        found = [result_of(alike, "survived"), result_of(open_one, "survived"), result_of(dead, "killed")]
        page = store.report(found, reasons, 3)
        self.assertIn("| all | 3 | 1 | 1 | 1 | 0 | 50.0 % |", page)
        part, alike_part = page.split("## Equivalent survivors")
        self.assertIn(open_one.id, part.split("## Open survivors")[1])
        self.assertIn("zero stays zero", alike_part)
        self.assertIn("Sum.Includes the last", alike_part.split("## Tests that were written")[1])
        self.assertNotIn("Not finished", page)
        self.assertNotIn("Without", page)
        self.assertIn("Without fuzz_x, which fails", store.report(found, reasons, 3, {"fuzz_x"}))
        self.assertIn("Not finished: 3 of 4 mutants", store.report(found, reasons, 4))

    def test_reasons_file(self):
        path = self.folder / "survivors.json"
        entry = {"file": "f", "function": "g", "before": "a", "after": "b", "equivalent": "as good"}
        path.write_text(json.dumps([entry]))
        self.assertEqual(store.read_reasons(path), {("f", "g", "a", "b"): ("equivalent", "as good")})
        for wrong in ([entry, entry], [{**entry, "test": "T"}], [{**entry, "equivalent": ""}]):
            path.write_text(json.dumps(wrong))
            with self.assertRaises(ValueError):
                store.read_reasons(path)
        self.assertIsInstance(store.read_reasons(pathlib.Path(__file__).parent / "survivors.json"), dict)


if __name__ == "__main__":
    unittest.main()
