# SPDX-License-Identifier: Apache-2.0
"""What became of each mutant: one line of JSON for each, and what they add up to."""
import collections
import dataclasses
import json
import threading


@dataclasses.dataclass(frozen=True)
class Result:
    id: str
    source: str  # digest of the file it changes
    tree: str  # digest of all that it was judged with
    layer: str
    operator: str
    key: tuple  # Mutant.key
    outcome: str  # killed, survived, stillborn, or unchanged: the libraries' machine code is the same
    step: str  # that killed it, or the last
    by: str  # the test, or how it ended
    seconds: float


class Results:
    def __init__(self, path):
        self.path, self.lock, self.all = path, threading.Lock(), {}
        if path.exists():
            for line in path.read_text().splitlines():
                try:
                    fields = json.loads(line)
                except ValueError:
                    continue  # written while the machine stopped
                result = Result(**{**fields, "key": tuple(fields["key"])})
                self.all[result.id] = result

    def add(self, result):
        with self.lock:
            self.all[result.id] = result
            self.path.parent.mkdir(parents=True, exist_ok=True)
            torn = self.path.exists() and self.path.read_bytes()[-1:] not in (b"", b"\n")
            with open(self.path, "a", encoding="utf-8") as file:
                file.write("\n" * torn + json.dumps(dataclasses.asdict(result)) + "\n")

    def known(self, mutant, source, tree, equivalent=()):
        """A killed mutant stays dead while its file is the same; one that lived may die of a new test, unless it cannot be told from the original."""
        result = self.all.get(mutant.id)
        if result is None or result.source != source:
            return None
        return result if result.outcome in ("killed", "stillborn", "unchanged") or result.tree == tree or result.key in equivalent else None


class Score:
    """Stillborn mutants and those that change nothing do not count, nor do survivors with a reason why they are equivalent."""

    def __init__(self, results, equivalent=()):
        counts = collections.Counter(
            "equivalent" if r.outcome == "survived" and r.key in equivalent else r.outcome for r in results
        )
        self.killed, self.survived = counts["killed"], counts["survived"]
        self.stillborn, self.equivalent = counts["stillborn"], counts["equivalent"] + counts["unchanged"]

    @property
    def percent(self):
        judged = self.killed + self.survived
        return f"{100 * self.killed / judged:.1f} %" if judged else "-"


def read_reasons(path):
    """Survivor's key -> ("equivalent" or "test", text)."""
    reasons = {}
    for entry in json.loads(path.read_text()):
        kinds = [kind for kind in ("equivalent", "test") if entry.get(kind)]
        key = tuple(entry[field] for field in ("file", "function", "before", "after"))
        if len(kinds) != 1 or key in reasons:
            raise ValueError(f"{path}: one reason for each survivor: {entry}")
        reasons[key] = kinds[0], entry[kinds[0]]
    return reasons


def equivalents(reasons):
    """Key -> why nobody can tell it from the original."""
    return {key: text for key, (kind, text) in reasons.items() if kind == "equivalent"}


def report(results, reasons, wanted, left_out=()):
    """The page: what `results` add up to, of `wanted` mutants, judged without the fuzzers `left_out`."""
    results = sorted(results, key=lambda r: r.id)
    equivalent = equivalents(reasons)
    out = ["# Mutation testing", ""]
    if len(results) < wanted:
        out += [f"**Not finished: {len(results)} of {wanted} mutants of this run.**", ""]
    out += [f"**Without {name}, which fails without any mutant.**\n" for name in sorted(left_out)]
    out += [
        "`ci/mutate` changes the allocator's sources in one place at a time and runs tests, properties and fuzzers in verify until one fails. The score is",
        "the share of killed mutants among those that can be: not those that do not compile, nor those whose machine code is the same, nor those that are",
        "equivalent for a reason given below. This page is written by `ci/mutate --report`; the reasons are in `tests/mutate/survivors.json`.",
        "",
    ]
    for what in ("layer", "operator"):
        out += [f"| {what} | mutants | killed | survived | equivalent | stillborn | score |", "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"]
        groups = collections.defaultdict(list)
        for result in results:
            groups[getattr(result, what)].append(result)
        for name, group in [*sorted(groups.items()), ("all", results)]:
            s = Score(group, equivalent)
            out.append(f"| {name} | {len(group)} | {s.killed} | {s.survived} | {s.equivalent} | {s.stillborn} | {s.percent} |")
        out.append("")
    survivors = [r for r in results if r.outcome == "survived"]
    sections = [
        ("Open survivors", [(r, "") for r in survivors if r.key not in equivalent]),
        ("Equivalent survivors", [(r, equivalent[r.key]) for r in survivors if r.key in equivalent]),
    ]
    for title, rows in sections:
        out += [f"## {title}", ""]
        for result, reason in rows:
            _, function, before, after = result.key
            out += [f"- `{result.id}` {function}", f"  - was `{before}`", f"  - is `{after}`"] + ([f"  - {reason}"] if reason else [])
        out += ["" if rows else "None.\n"]
    tests = [(key, text) for key, (kind, text) in sorted(reasons.items()) if kind == "test"]
    if tests:
        out += ["## Tests that were written for survivors", ""]
        out += [f"- {file}, {function}: `{before}` became `{after}`: {text}" for (file, function, before, after), text in tests] + [""]
    return "\n".join(out).rstrip() + "\n"
