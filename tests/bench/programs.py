# SPDX-License-Identifier: Apache-2.0
"""The workloads: our own programs from this directory, and real programs with the inputs next to them."""
import dataclasses
import functools
import hashlib
import pathlib
import random
import subprocess
import sys
import time
from typing import Callable

import measure

INPUTS = pathlib.Path(__file__).resolve().parent / "inputs"

# The program where its name is another, and what it gets behind the scale.
OWN = {
    "random_replace": (), "larson": (), "producer_consumer": (), "xmalloc_like": (), "size_mix": (), "size_mix_2": ("size_mix", 2),
    "phases": (), "server_mix": (), "false_sharing": (), "false_sharing_passive": ("false_sharing", "passive"), "one_size": (),
    "one_size_2": ("one_size", 2), "churn_large": (), "small_pingpong": (), "tree_build": (), "size_drift": (), "realloc_grow": (),
    "zeroed": (), "thread_churn": (), "frag_runs": (), "peak_release": (), "tiny": (),
}  # fmt: skip
DEMO = ["python_malloc", "sqlite3", "g++", "redis"]


@dataclasses.dataclass
class Workload:
    name: str
    run: Callable[[measure.Runner, str], measure.Result]


def own(name, scale, program=None, *arguments):
    """One of the bench_ programs; the tiny one runs often, because one run is too short to time."""

    def run(runner, preload):
        repeat = max(1, int(200 * scale)) if name == "tiny" else 1
        return runner.run([runner.binaries / f"bench_{program or name}", scale, *arguments], preload, repeat=repeat)

    return Workload(name, run)


def command(name, arguments, **options):
    def run(runner, preload):
        return runner.run(arguments, preload, **options)

    return Workload(name, run)


def text_file(runner):
    """About 8 MiB of text that compresses like text does; made once."""
    path = runner.scratch / "text"
    if not path.exists():
        generator = random.Random(91)
        words = ["".join(generator.choices("etaoinshrdlucm", k=generator.randint(2, 9))) for _ in range(5000)]
        with open(path, "w", encoding="ascii") as file:
            for _ in range(120000):
                file.write(" ".join(generator.choices(words, k=11)) + "\n")
    return path


def compress(threads, runner, preload):
    return runner.run(["xz", "-3", f"-T{threads}", "--block-size=1MiB", "-c", text_file(runner)], preload)


@functools.cache
def redis_commands():
    """Fills a database with strings, lists and hashes, then overwrites and deletes a good part of them."""
    generator = random.Random(92)
    lines = []
    for number in range(60000):
        lines.append(f"SET key:{number} {'v' * generator.randint(10, 600)}")
        lines.append(f"RPUSH list:{number % 2000} {'item' * generator.randint(1, 20)}")
        lines.append(f"HSET hash:{number % 5000} field{number} {'h' * generator.randint(1, 80)}")
    for number in range(60000):
        if generator.random() < 0.6:
            lines.append(f"DEL key:{number}")
        else:
            lines.append(f"APPEND key:{number} {'w' * generator.randint(10, 1000)}")
    return ("\r\n".join(lines) + "\r\n").encode()


def redis(runner, preload):
    """A server on a socket file, under the allocator; its clients run without. Measured is the server alone."""
    socket = runner.scratch / "redis.sock"
    socket.unlink(missing_ok=True)
    # Debian's server is linked with jemalloc: for the C library's malloc that library has to come first.
    server = runner.start(
        ["redis-server", "--port", 0, "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", runner.scratch,
         "--enable-debug-command", "yes", "--loglevel", "warning", "--logfile", runner.scratch / "redis.log"],
        preload or "libc.so.6",
    )  # fmt: skip
    client = ["redis-cli", "-s", str(socket)]

    def ask(*arguments, data=None):
        done = subprocess.run([*client, *arguments], input=data, capture_output=True, check=False, timeout=120)
        if done.returncode != 0 or (data is None and done.stdout.startswith((b"ERR", b"(error)"))):
            raise subprocess.SubprocessError(f"redis-cli {' '.join(arguments)}: {(done.stdout + done.stderr).decode()[-300:]}")
        return done.stdout

    answers, problem = [], ""
    try:
        for _ in range(200):
            if server.poll() is not None or subprocess.run([*client, "ping"], capture_output=True, check=False).returncode == 0:
                break
            time.sleep(0.05)
        ask("--pipe", data=redis_commands())
        answers.append(ask("dbsize"))
        subprocess.run(
            ["redis-benchmark", "-s", str(socket), "-q", "-n", "60000", "-P", "16", "-c", "20", "-d", "200",
             "-t", "set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,lrange_100"],
            stdout=subprocess.DEVNULL, check=True, timeout=300,
        )  # fmt: skip
        answers.append(ask("dbsize"))
        answers.append(ask("debug", "digest"))
    except (subprocess.SubprocessError, OSError) as error:
        problem = str(error)
    if server.poll() is None:
        subprocess.run([*client, "shutdown", "nosave"], capture_output=True, check=False)
    result = runner.finish(server)
    result.digest = hashlib.sha256(b"\n".join(answers)).hexdigest()
    if problem:
        result.status = result.status or 1
        result.error = f"{problem} {result.error}".strip()
    return result


def all_workloads(scale):
    """Every workload by name, in the order of the report."""
    real = [
        command("python", [sys.executable, INPUTS / "objects.py"]),
        # Python has its own allocator for small objects; without it each object is a block of malloc.
        command("python_malloc", [sys.executable, INPUTS / "objects.py"], environment={"PYTHONMALLOC": "malloc"}),
        command("sqlite3", ["sqlite3", ":memory:"], stdin=INPUTS / "queries.sql"),
        command("lua", ["lua5.4", INPUTS / "tables.lua"]),
        command("perl", ["perl", INPUTS / "text.pl"], environment={"PERL_HASH_SEED": "0"}),
        Workload("xz", functools.partial(compress, 1)),
        Workload("xz_T0", functools.partial(compress, 0)),
        command("g++", ["g++", "-std=c++20", "-O1", "-S", "-o", "-", INPUTS / "heavy.cpp"]),
        command("clang++", ["clang++-19", "-std=c++20", "-O1", "-S", "-o", "-", INPUTS / "heavy.cpp"]),
        command("node", ["node", INPUTS / "buffers.js"]),
        Workload("redis", redis),
    ]
    return {workload.name: workload for workload in [*(own(name, scale, *how) for name, how in OWN.items()), *real]}
