#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Installs the build, moves the installation somewhere else, and uses it as others would: find_package, pkg-config, the mpmm program.

Usage: check_install.py --build BUILD --source ROOT --cmake CMAKE --cc CC --cxx CXX --version VERSION --libdir LIBDIR
"""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

CONSUMER = pathlib.Path(__file__).resolve().parent / "consumer"


def run(*command, environment=None, status=0):
    """The program's standard output; stops the test when it ends otherwise than expected."""
    variables = {key: value for key, value in os.environ.items() if key not in ("LD_PRELOAD", "MPMM_OPTIONS", "LD_LIBRARY_PATH")}
    variables.update(environment or {})
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=variables, check=False, timeout=300)
    if done.returncode != status:
        sys.exit(f"{' '.join(str(word) for word in command)}: status {done.returncode}, not {status}\n{done.stdout}{done.stderr}")
    return done.stdout


def expect(what, actual, expected):
    if actual != expected:
        sys.exit(f"{what}: {actual!r}, not {expected!r}")
    print(f"{what}: {actual.strip()}")


def check_nothing_points_back(prefix, old_places):
    """No text file of the package may name where it was built or first installed."""
    for path in prefix.rglob("*"):
        if path.suffix in (".cmake", ".pc", ".h", ".hpp"):
            text = path.read_text()
            for place in old_places:
                if str(place) in text:
                    sys.exit(f"{path} names {place}")


def check_find_package(arguments, prefix, scratch):
    build = scratch / "consumer"
    run(arguments.cmake, "-S", CONSUMER, "-B", build, "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={prefix}", f"-DCMAKE_C_COMPILER={arguments.cc}",
        f"-DCMAKE_CXX_COMPILER={arguments.cxx}")  # fmt: skip
    run(arguments.cmake, "--build", build, "-j2")
    for target in ("mpmm", "mpmm_static", "verify", "verify_static"):
        mode = "+verify" if target.startswith("verify") else ""
        expect(f"mpmm::{target}", run(build / f"sized_{target}"), f"sized {arguments.version}{mode}\n")
    for target in ("malloc", "malloc_static", "malloc_verify", "malloc_verify_static"):
        expect(f"mpmm::{target}", run(build / f"plain_{target}"), "plain mpmm\n")


def check_pkg_config(arguments, prefix, scratch):
    environment = {"PKG_CONFIG_PATH": str(prefix / arguments.libdir / "pkgconfig")}
    libraries = prefix / arguments.libdir
    for package, source, expected in (
        ("mpmm", "sized.c", f"sized {arguments.version}\n"),
        ("mpmm_verify", "sized.c", f"sized {arguments.version}+verify\n"),
        ("mpmm_malloc", "plain.cpp", "plain mpmm\n"),
        ("mpmm_malloc_verify", "plain.cpp", "plain mpmm\n"),
    ):
        flags = run("pkg-config", "--cflags", "--libs", package, environment=environment).split()
        compiler = [arguments.cc] if source.endswith(".c") else [arguments.cxx, "-std=c++20"]
        program = scratch / f"pc_{package}"
        run(*compiler, CONSUMER / source, "-o", program, *flags, f"-Wl,-rpath,{libraries}")
        expect(f"pkg-config {package}", run(program), expected)
        expect(f"{package}'s version", run("pkg-config", "--modversion", package, environment=environment), f"{arguments.version}\n")


def check_program(prefix, scratch, arguments):
    program = prefix / "bin" / "mpmm"
    plain = scratch / "plain"
    run(arguments.cxx, "-std=c++20", CONSUMER / "plain.cpp", "-o", plain)
    expect("without mpmm", run(plain), "plain other\n")
    expect("mpmm run", run(program, "run", "--", plain), "plain mpmm\n")
    expect("mpmm run --verify", run(program, "run", "--verify", "--", plain), "plain mpmm\n")
    for mode, library in ((["run"], "libmpmm_malloc.so"), (["run", "--verify"], "libmpmm_malloc_verify.so")):
        maps = run(program, *mode, "--", "cat", "/proc/self/maps")
        if str(prefix / arguments.libdir / library) not in maps:
            sys.exit(f"mpmm {mode} did not load {library} of the installation:\n{maps}")
    # Options and arguments get through; the program's own options stay its own.
    double_free = scratch / "twice.c"
    double_free.write_text("#include <stdlib.h>\nint main(void) { void* volatile p = malloc(9); free(p); free(p); return 0; }\n")
    twice = scratch / "twice"
    run(arguments.cc, "-fno-builtin", "-w", double_free, "-o", twice)
    run(program, "run", "--verify", "-o", "exitcode=9", "--", twice, status=9)
    run(program, "run", "-o", "exitcode=9", "--", twice, environment={"MPMM_OPTIONS": "exitcode=8"}, status=9)
    expect("arguments", run(program, "run", "--", "printf", "%s|", "-o", "a b", "--verify"), "-o|a b|--verify|")
    run(program, "run", "--", "sh", "-c", "exit 5", status=5)
    run(program, "run", "--", "/no/such/program", status=127)
    run(program, "--version")


def main():
    parser = argparse.ArgumentParser()
    for name in ("build", "source", "cmake", "cc", "cxx", "version", "libdir"):
        parser.add_argument(f"--{name}", required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        scratch = pathlib.Path(directory)
        first, prefix = scratch / "first", scratch / "moved" / "here"
        run(arguments.cmake, "--install", arguments.build, "--prefix", first)
        prefix.parent.mkdir()
        shutil.move(first, prefix)
        check_nothing_points_back(prefix, (first, arguments.build, arguments.source))
        check_find_package(arguments, prefix, scratch)
        if shutil.which("pkg-config") is None:
            sys.exit("pkg-config is not installed")
        check_pkg_config(arguments, prefix, scratch)
        check_program(prefix, scratch, arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
