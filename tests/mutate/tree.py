# SPDX-License-Identifier: Apache-2.0
"""A copy of the project that may be changed, its builds, and programs that run so that they can do no harm."""
import hashlib
import os
import pathlib
import shutil
import signal
import subprocess
import time

BUILD_SECONDS = 1200
FILE_BYTES = 1 << 30


def project_files(root):
    """Everything that is under version control or could be."""
    listed = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=root, check=True, capture_output=True).stdout
    return sorted({name.decode() for name in listed.split(b"\0") if name and (root / name.decode()).is_file()})


def judges(root):
    """The files that decide what becomes of a mutant."""
    folders = ("src/", "include/", "tests/", "fuzz/", "proptests/")
    return [name for name in project_files(root) if name.startswith(folders) and not name.startswith("tests/mutate/")]


def digest(root, names):
    state = hashlib.sha256()
    for name in names:
        state.update(f"{name}\0".encode() + hashlib.sha256((root / name).read_bytes()).digest())
    return state.hexdigest()[:16]


def sandbox():
    """The prefix of a command that sees and signals no process but its own."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return [
        # Whoever ends this program ends what it started, and where memory is short the mutant goes first: limits would change what verify does.
        *["setpriv", "--pdeathsig", "KILL", "choom", "-n", "1000", "--", "prlimit", "--core=0", f"--fsize={FILE_BYTES}"],
        *["unshare", *user, "--pid", "--fork", "--kill-child", "--mount-proc"],
        # The first process of such a space is spared signals, as no other is: that is a shell.
        *["sh", "-c", '"$@"; exit $?', "sh"],
    ]


def emptied(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


class Ended:
    """How a command ended."""

    def __init__(self, status, output, seconds):
        self.status, self.output, self.seconds = status, output, seconds  # status None: it was too slow

    @property
    def ok(self):
        return self.status == 0


def run(command, cwd, seconds, environment=None):
    log = pathlib.Path(cwd) / "output"
    started = time.monotonic()
    with open(log, "wb") as out:
        process = subprocess.Popen(
            [*sandbox(), *map(str, command)],
            cwd=cwd,
            env={**os.environ, "TMPDIR": str(cwd), **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(seconds)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            status = None
    with open(log, "rb") as text:
        text.seek(max(0, log.stat().st_size - (1 << 20)))
        return Ended(status, text.read().decode(errors="replace"), time.monotonic() - started)


class Tree:
    """A copy of the project in `home`/source."""

    def __init__(self, project, home, jobs=1):
        self.project, self.home, self.jobs = project, home, jobs
        self.source, self.work = home / "source", home / "work"
        self.work.mkdir(parents=True, exist_ok=True)

    def synchronise(self, instead=None):
        """Makes the copy what the project is, with other contents for some files; those that are the same keep their times, so that little is built
        again."""
        names = project_files(self.project)
        for name in names:
            if instead is not None and name in instead:
                self.write(name, instead[name])
            else:
                self.restore(name)
        for stale in {str(p.relative_to(self.source)) for p in self.source.rglob("*") if p.is_file()} - set(names):
            if not stale.startswith("build/"):
                (self.source / stale).unlink()
        return names

    def empty(self, name):
        """An empty folder among what programs may write to."""
        return emptied(self.work / name)

    def restore(self, name):
        """Undoes every change of a file."""
        self.write(name, (self.project / name).read_bytes())

    def write(self, name, content):
        path = self.source / name
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        path.chmod((self.project / name).stat().st_mode)

    def configure(self, build, *options):
        ended = run(["cmake", "-G", "Ninja", "-S", self.source, "-B", self.home / build, *options], self.work, BUILD_SECONDS)
        if not ended.ok:
            raise RuntimeError(f"cmake failed:\n{ended.output[-3000:]}")

    def ninja(self, build, targets):
        return run(["ninja", "-C", self.home / build, "-j", self.jobs, *targets], self.work, BUILD_SECONDS)

    def code(self, build, library):
        """What an object library's machine code and data are, whatever its debug information says."""
        state = hashlib.sha256()
        for object_file in objects_of(self.home / build, library):
            stripped = self.work / "stripped.o"
            subprocess.run(["objcopy", "--strip-debug", object_file, stripped], check=True)
            state.update(stripped.read_bytes())
        return state.hexdigest()


def objects_of(build, library):
    return sorted((build / "src/CMakeFiles" / f"{library}.dir").rglob("*.o"))
