# SPDX-License-Identifier: Apache-2.0
"""Finds allocators and runs programs under them, measuring time and peak memory."""
import dataclasses
import hashlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile

# The file names of the peers' shared libraries, as the run-time linker knows them, and the Debian packages they come from.
PEERS = {
    "mimalloc": ("libmimalloc.so.2", "libmimalloc2.0"),
    "jemalloc": ("libjemalloc.so.2", "libjemalloc2"),
    "tcmalloc": ("libtcmalloc_minimal.so.4", "libtcmalloc-minimal4"),
}
# Where the release preset puts things, from the top of the source tree.
MPMM = "build/release/lib/libmpmm_malloc.so"
VERIFY = "build/release/lib/libmpmm_malloc_verify.so"
BINARIES = "build/release/bin"
ALLOCATORS = ["glibc", "mpmm", *PEERS]
TIMEOUT_SECONDS = 600


@dataclasses.dataclass
class Result:
    """One measured run: times in seconds, memory in bytes."""

    status: int
    cpu: float
    wall: float
    peak: int
    digest: str
    metrics: dict
    error: str = ""


def locate_library(name, package):
    """The path of an installed shared library, or None."""
    linker_cache = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=False).stdout
    found = re.search(rf"^\s*{re.escape(name)} .*=> (\S+)$", linker_cache, re.MULTILINE)
    if found:
        return found.group(1)
    listing = subprocess.run(["dpkg", "-L", package], capture_output=True, text=True, check=False).stdout
    return next((line for line in listing.splitlines() if line.endswith("/" + name) and os.path.exists(line)), None)


def takes_over(library):
    """Whether a program that preloads the library gets its malloc; the run-time linker ignores what it cannot load."""
    environment = {**os.environ, "LD_PRELOAD": library, "LD_DEBUG": "bindings"}
    done = subprocess.run(["true"], env=environment, capture_output=True, check=False)
    return f"to {library} [0]: normal symbol `malloc'" in done.stderr.decode(errors="replace")


def find_allocators(names, mpmm):
    """Returns {name: library to preload, "" for none} and the list of reasons why others are missing."""
    libraries, missing = {}, []
    for entry in names:
        name, given, path = entry.partition("=")
        if given:
            if not os.path.exists(path):
                raise SystemExit(f"{name}: {path} does not exist")
            libraries[name] = os.path.abspath(path)
        elif name == "glibc":
            libraries[name] = ""
        elif name in ("mpmm", "mpmm_verify"):
            library = mpmm if name == "mpmm" else VERIFY
            if os.path.exists(library):
                libraries[name] = os.path.abspath(library)
            else:
                missing.append(f"{name}: {library} does not exist")
        elif name in PEERS:
            path = locate_library(*PEERS[name])
            if path:
                libraries[name] = path
            else:
                missing.append(f"{name}: {PEERS[name][0]} is not installed (package {PEERS[name][1]})")
        else:
            raise SystemExit(f"unknown allocator {name}; known: {', '.join(ALLOCATORS)}, mpmm_verify, and NAME=PATH")
        if libraries.get(name) and not takes_over(libraries[name]):
            missing.append(f"{name}: {libraries.pop(name)} does not take malloc over when it is preloaded")
    return libraries, missing


def package_versions():
    """The installed versions of the peers and of the C library."""
    packages = ["libc6", *(package for _, package in PEERS.values())]
    query = ["dpkg-query", "-W", "-f=${Package} ${Version}\n", *packages]
    lines = subprocess.run(query, capture_output=True, text=True, check=False).stdout.splitlines()
    return dict(line.split(" ", 1) for line in lines if " " in line)


class Runner:
    """Runs programs through bench_launch, with one scratch directory for all of them."""

    def __init__(self, binaries):
        self.binaries = pathlib.Path(binaries).resolve()
        self.launcher = self.binaries / "bench_launch"
        if not self.launcher.exists():
            raise SystemExit(f"{self.launcher} does not exist: configure with -DMPMM_BUILD_BENCH=ON and build first")
        self.scratch = pathlib.Path(tempfile.mkdtemp(prefix="mpmm-bench-"))
        self.process = None

    def close(self):
        """Ends what still runs after an interruption, and removes the scratch directory."""
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def start(self, command, preload, *, repeat=1, stdin=None, stdout=subprocess.DEVNULL, environment=None):
        """Starts the command and returns the process; finish() ends the measurement."""
        report = self.scratch / "report"
        report.unlink(missing_ok=True)
        variables = {**os.environ, "LC_ALL": "C", "PYTHONHASHSEED": "0", **(environment or {})}
        with (open(stdin, "rb") if stdin else open(os.devnull, "rb")) as source:
            self.process = subprocess.Popen(
                [str(self.launcher), str(report), preload, str(repeat), *map(str, command)],
                stdin=source,
                stdout=stdout,
                stderr=subprocess.PIPE,
                env=variables,
                cwd=self.scratch,
                start_new_session=True,
            )
        return self.process

    def finish(self, process):
        """Waits for the end and returns a Result for what the process wrote to its pipes."""
        try:
            output, errors = process.communicate(timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return Result(124, 0, 0, 0, "", {}, f"no end after {TIMEOUT_SECONDS} s")
        digest, metrics = hashlib.sha256(), {}
        for line in (output or b"").splitlines(keepends=True):
            if line.startswith(b"metric "):
                _, name, value = line.decode().split()
                metrics[name] = float(value)
            else:
                digest.update(line)
        try:
            status, cpu, wall, peak = (self.scratch / "report").read_text(encoding="ascii").split()
        except (OSError, ValueError):
            problem = "no measurement: " + errors.decode(errors="replace")[-500:]
            return Result(process.returncode or 1, 0, 0, 0, "", {}, problem)
        error = errors.decode(errors="replace").strip()[-500:] if int(status) else ""
        return Result(int(status), float(cpu), float(wall), int(peak) * 1024, digest.hexdigest(), metrics, error)

    def run(self, command, preload, **options):
        return self.finish(self.start(command, preload, stdout=subprocess.PIPE, **options))
