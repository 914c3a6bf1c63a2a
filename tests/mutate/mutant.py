# SPDX-License-Identifier: Apache-2.0
"""What a mutant is: one piece of one source file, and the text that takes its place."""
import collections
import dataclasses
import hashlib
import random


@dataclasses.dataclass(frozen=True)
class Mutant:
    file: str  # below the project's folder
    line: int
    column: int
    operator: str
    function: str
    start: int  # bytes
    original: str
    mutated: str
    before: str  # the lines it is in, in one, and what becomes of them
    after: str

    @property
    def id(self):
        digest = hashlib.sha256(f"{self.original}\0{self.mutated}".encode()).hexdigest()[:4]
        return f"{self.file}:{self.line}:{self.column}:{self.operator}:{digest}"

    @property
    def layer(self):
        return self.file.split("/")[1]

    @property
    def key(self):
        """What a reason refers to: stays the same when lines move."""
        return self.file, self.function, self.before, self.after

    def apply(self, source):
        """The mutated source; bytes in, bytes out."""
        original = self.original.encode()
        if source[self.start : self.start + len(original)] != original:
            raise ValueError(f"{self.id}: the source is another")
        return source[: self.start] + self.mutated.encode() + source[self.start + len(original) :]

    def matches(self, word):
        return word in (self.id, self.layer, self.operator, self.file)


def lines_of(source, start, end, mutated):
    """The lines that source[start:end] is in, and the same lines with `mutated` in its place."""
    first, last = source.rfind(b"\n", 0, start) + 1, source.find(b"\n", end)
    head, tail = source[first:start].decode(), source[end : last if last >= 0 else len(source)].decode()
    return flat(head + source[start:end].decode() + tail), flat(head + mutated + tail)


def flat(text):
    return " ".join(text.split())


def spread(mutants, count, seed):
    """The first `count` of an order in which layers take turns, and in each layer the operators: a smaller sample is part of a larger one."""
    groups = collections.defaultdict(lambda: collections.defaultdict(list))
    for mutant in sorted(mutants, key=lambda m: m.id):
        groups[mutant.layer][mutant.operator].append(mutant)
    lanes = []
    for layer, operators in sorted(groups.items()):
        for operator, group in operators.items():
            random.Random(f"{seed} {layer} {operator}").shuffle(group)
        names = sorted(operators)
        random.Random(f"{seed} {layer}").shuffle(names)
        lanes.append(take_turns([operators[name] for name in names]))
    return take_turns(lanes)[:count]


def take_turns(lanes):
    longest = max(map(len, lanes), default=0)
    return [lane[i] for i in range(longest) for lane in lanes if i < len(lane)]
