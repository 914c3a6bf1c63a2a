#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs one real program on the C library's malloc and on the drop-in libraries: output and exit status must be the same, byte for byte.

Usage: run_real.py NAME --library LIBRARY...
Exit status 77 when the program is not installed.
"""
import argparse
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

PYTHON = """
import collections, hashlib, json, re, threading, zlib
digest = hashlib.sha256()
words = [f"w{i * 7919 % 5003}" for i in range(60000)]
table = collections.defaultdict(list)
for number, word in enumerate(words):
    table[word].append({"number": number, "text": word * (number % 9), "parts": [word, str(number)]})
digest.update(json.dumps(table, sort_keys=True).encode())
digest.update(re.sub(r"w(\\d)(\\d*)", r"\\2-\\1", " ".join(words)).encode())
buffers = [bytes([i % 256]) * (i * 37 % 70000) for i in range(1500)]
digest.update(zlib.compress(b"".join(buffers[:600])))
results = {}
def work(name):
    results[name] = sum(len(sorted(table[word], key=lambda row: -row["number"])) for word in words[name::4])
threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(digest.hexdigest(), sorted(results.items()))
"""

PERL = r"""
use strict;
my (%count, %seen);
for my $i (1 .. 60000) {
    my $line = join ' ', map { 'v' . ($i * $_ * 7919 % 4001) } 1 .. 5;
    $count{$_}++ for split / /, $line;
    $line =~ s/v(\d+) v(\d+)/$2:$1/g;
    push @{$seen{length $line}}, substr($line, 0, $i % 25);
}
print "$_ $count{$_}\n" for (sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count)[0 .. 99];
print "$_ ", scalar(@{$seen{$_}}), " ", length(join '', @{$seen{$_}}), "\n" for sort { $a <=> $b } keys %seen;
"""

LUA = """
local rows, sum = {}, 0
for i = 1, 120000 do
  local key = 'k' .. (i * 7919 % 3001)
  rows[key] = rows[key] or {}
  table.insert(rows[key], { i = i, text = string.rep('x', i % 50), name = key .. ':' .. i })
  if #rows[key] > 30 then table.remove(rows[key], 1) end
end
local keys = {}
for key in pairs(rows) do keys[#keys + 1] = key end
table.sort(keys)
for _, key in ipairs(keys) do
  for _, row in ipairs(rows[key]) do sum = (sum * 31 + row.i + #row.text + #row.name) % 1000003 end
end
print(#keys, sum, table.concat(keys, ','):sub(1, 500))
"""

SQL = """
create table item(id integer primary key, name text, size integer, note text);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 40000)
insert into item select i, 'name' || (i * 7919 % 5003), i * 31 % 997, substr(hex(zeroblob(i % 60)), 1, i % 90) from n;
create index by_name on item(name, size);
select name, count(*), sum(size), group_concat(id) from item group by name order by 3 desc, 1 limit 60;
update item set note = note || name where size % 3 = 0;
delete from item where id % 5 = 0;
select a.name, count(*), max(length(b.note)) from item a join item b on a.name = b.name and a.id < b.id group by 1 order by 2 desc, 1 limit 40;
select sum(length(note)), count(distinct name) from item;
"""

CXX_PROGRAM = """
#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>
template <int N> struct Node : Node<N - 1> { std::map<int, std::variant<int, std::string, std::vector<Node<N - 1>>>> values; };
template <> struct Node<0> {};
template <int N> int walk(const Node<N>& node) {
    int sum = 0;
    for (const auto& [key, value] : node.values) sum += key + static_cast<int>(value.index());
    if constexpr (N > 1) sum += walk(static_cast<const Node<N - 1>&>(node));
    return sum;
}
int use() { std::unordered_map<std::string, std::function<int()>> calls; Node<12> node; calls["a"] = [&] { return walk(node); }; return calls["a"](); }
"""

NODE = """
const rows = new Map();
for (let i = 0; i < 60000; ++i) {
  const key = 'k' + (i * 7919 % 2003);
  rows.set(key, [...(rows.get(key) || []).slice(-20), { i, text: 'x'.repeat(i % 97) }]);
}
let sum = 0;
for (const list of rows.values()) for (const { i, text } of list) sum = (sum * 31 + i + text.length) % 1000003;
const buffers = [];
for (let i = 0; i < 2000; ++i) buffers.push(Buffer.alloc(i * 13 % 40000, i % 251));
console.log(sum, require('crypto').createHash('sha256').update(Buffer.concat(buffers)).digest('hex'));
console.log(require('zlib').deflateSync(Buffer.concat(buffers.slice(0, 500))).length, JSON.stringify([...rows.keys()].sort().slice(0, 50)));
"""

C_PROGRAM = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
struct node { struct node* left; struct node* right; int key; };
static struct node* insert(struct node* at, int key) {
    if (at == NULL) { at = calloc(1, sizeof *at); at->key = key; return at; }
    if (key < at->key) at->left = insert(at->left, key); else at->right = insert(at->right, key);
    return at;
}
int main(void) { struct node* root = NULL; for (int i = 0; i < 100; ++i) root = insert(root, i * 37 % 101); return root->key; }
"""


def text_file(scratch):
    """Text from a fixed seed, the same in every run."""
    path = scratch / "text"
    generator = random.Random(3)
    words = ["".join(generator.choices("etaoinshrdlucm", k=generator.randint(2, 9))) for _ in range(3000)]
    with open(path, "w", encoding="ascii") as file:
        for _ in range(30000):
            file.write(" ".join(generator.choices(words, k=11)) + "\n")
    return path


def git_script(scratch):
    """Makes a repository with a fixed history and looks at it in several ways."""
    script = scratch / "history.sh"
    script.write_text(
        """set -e
repository=$(mktemp -d)
trap 'rm -rf "$repository"' EXIT
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null HOME=$repository
export GIT_AUTHOR_DATE='1700000000 +0000' GIT_COMMITTER_DATE='1700000000 +0000'
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=c GIT_COMMITTER_EMAIL=c@example.org
git init -q -b main "$repository/r"
cd "$repository/r"
for number in $(seq 30); do
    seq "$number" $((number * 40)) >"file$((number % 7))"
    git add -A
    git commit -q -m "change $number"
done
git checkout -q -b side HEAD~10
echo side >side
git add side
git commit -q -m side
git checkout -q main
git merge -q -m merged side
git log --stat --format='%H %s'
git diff HEAD~15
git gc -q
git fsck --strict 2>&1
git blame file3 | tail -20
git rev-parse HEAD
"""
    )
    return script


def redis_script(scratch):
    """A server that a benchmark and a fixed set of commands run against, and that saves and stops; what it holds is printed."""
    script = scratch / "server.sh"
    script.write_text(
        """set -e
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
redis-server --port 0 --unixsocket "$directory/socket" --dir "$directory" --save '' --activerehashing no >"$directory/log" 2>&1 &
server=$!
for i in $(seq 100); do [ -S "$directory/socket" ] && break; sleep 0.1; done
client() { redis-cli -s "$directory/socket" "$@"; }
redis-benchmark -s "$directory/socket" -n 3000 -c 20 -P 8 -r 1000 -q -t set,get,incr,lpush,rpop,sadd,hset,zadd,lrange_100,mset >"$directory/benchmark"
grep -c 'requests per second' "$directory/benchmark"
client flushall
i=0
while [ $i -lt 400 ]; do
    echo "SET key:$i value:$((i * 7919 % 5003))"
    echo "RPUSH list:$((i % 20)) $(seq -s, $((i % 60)) $((i % 60 + i % 90)))"
    echo "HSET hash:$((i % 30)) field:$i $((i * 31))"
    [ $((i % 3)) -ne 0 ] || echo "DEL key:$((i / 2))"
    [ $((i % 5)) -ne 0 ] || echo "APPEND key:$i $(seq -s- 1 $((i % 300)))"
    i=$((i + 1))
done | client
client dbsize
client sort list:3 alpha limit 0 5
client hlen hash:7
client save
client debug digest
client shutdown nosave
wait $server
"""
    )
    return script


def commands(scratch):
    """The programs: name, what must be installed, command, standard input, environment."""
    for name, text in (("tree.c", C_PROGRAM), ("nodes.cpp", CXX_PROGRAM), ("queries.sql", SQL)):
        (scratch / name).write_text(text)
    python = ["python3", "-c", PYTHON]
    # Hash seeds come from the clock or the kernel; fixed, the order of hash tables is the same in every run.
    return {
        "python3": ("python3", python, None, {"PYTHONHASHSEED": "1"}),
        "python3_malloc": ("python3", python, None, {"PYTHONHASHSEED": "1", "PYTHONMALLOC": "malloc"}),
        "node": ("node", ["node", "-e", NODE], None, {}),
        "g++": ("g++", ["g++", "-std=c++20", "-O1", "-S", "-o", "-", scratch / "nodes.cpp"], None, {}),
        "clang-19": ("clang-19", ["clang-19", "-O2", "-S", "-o", "-", scratch / "tree.c"], None, {}),
        "git": ("git", ["sh", git_script(scratch)], None, {}),
        "redis": ("redis-benchmark", ["sh", redis_script(scratch)], None, {}),
        "perl": ("perl", ["perl", "-e", PERL], None, {"PERL_HASH_SEED": "0"}),
        "sqlite3": ("sqlite3", ["sqlite3", ":memory:"], scratch / "queries.sql", {}),
        "lua5.4": ("lua5.4", ["lua5.4", "-e", LUA], None, {}),
        "xz": ("xz", ["xz", "-2", "-T2", "--block-size=1MiB", "-c", text_file(scratch)], None, {}),
        "sort": ("sort", ["sort", "--parallel=2", "-S", "2M", "-k3,3", "-k1,1r", text_file(scratch)], None, {"LC_ALL": "C"}),
    }


def run(command, stdin, environment, preload):
    variables = {key: value for key, value in os.environ.items() if key not in ("LD_PRELOAD", "MPMM_OPTIONS")}
    variables.update(environment)
    if preload:
        variables["LD_PRELOAD"] = preload
    with open(stdin or os.devnull, "rb") as file:
        return subprocess.run([str(word) for word in command], stdin=file, capture_output=True, env=variables, check=False, timeout=300)


def maps_library(library):
    """Whether preloading works at all: a comparison of glibc with glibc would pass."""
    done = run(["cat", "/proc/self/maps"], None, {}, library)
    return pathlib.Path(library).resolve().name.encode() in done.stdout


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--library", action="append", required=True)
    arguments = parser.parse_args()
    failures = 0
    with tempfile.TemporaryDirectory() as directory:
        needed, command, stdin, environment = commands(pathlib.Path(directory))[arguments.name]
        if shutil.which(needed) is None:
            print(f"not installed: {needed}")
            return 77
        expected = run(command, stdin, environment, None)
        if expected.returncode != 0 or not expected.stdout:
            print(f"{arguments.name} fails by itself: {expected.returncode}\n{expected.stderr.decode(errors='replace')[-2000:]}")
            return 1
        for library in arguments.library:
            if not maps_library(library):
                print(f"{library} is not loaded")
                failures += 1
                continue
            actual = run(command, stdin, environment, library)
            same = (actual.returncode, actual.stdout, actual.stderr) == (expected.returncode, expected.stdout, expected.stderr)
            print(f"{pathlib.Path(library).name}: status {actual.returncode}, {len(actual.stdout)} bytes, {'the same' if same else 'DIFFERENT'}")
            if not same:
                failures += 1
                print(actual.stderr.decode(errors="replace")[-2000:])
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
