#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""In release, verification costs nothing: malloc and free compile to the same instructions with and without the verify seams.

Copies the source, takes every call of the verify policy out of the copy, compiles both with the command the build used, and compares the
disassembly of the fast paths. Also fails when the verify build compiles to the same code, for then the comparison would prove nothing.

Usage: fast_paths.py --build BUILD --source ROOT --objdump OBJDUMP
"""
import argparse
import json
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

FUNCTIONS = ["malloc", "free"]
SEAM = r"(?:V|C::Verify|TypeParam::Verify)::"


def strip_seams(text: str) -> tuple[str, int]:
    """Removes the seams' statements and conditions; returns the text and how many there were."""
    count = 0
    for pattern, replacement in [
        (r"if constexpr \(" + SEAM + r"enabled\)\s*[^;]*;", ""),
        (SEAM + r"enabled \|\| ", ""),
        (r" \|\| !" + SEAM + r"returned\([^()]*(?:\([^()]*\))?[^()]*\)", ""),
        (r"if \(!" + SEAM + r"returned\([^()]*\)\) \{[^}]*\}", ""),
        (r"(?<![\w:])" + SEAM + r"(?:template )?\w+(?:<\w+>)?\([^;]*\);", ""),
    ]:
        text, found = re.subn(pattern, replacement, text)
        count += found
    return text, count


def instructions(objdump: str, obj: pathlib.Path, function: str) -> list[str]:
    shown = subprocess.run([objdump, "-d", "--no-show-raw-insn", f"--disassemble={function}", str(obj)], check=True, capture_output=True, text=True)
    lines = []
    for line in shown.stdout.splitlines():
        match = re.match(r"\s+[0-9a-f]+:\s+(.*)", line)
        if match:
            # Names and addresses of other functions, and where an instruction lies, differ; what is computed does not.
            text = re.sub(r"\s*#.*|<[^>]*>", "", match.group(1))
            text = re.sub(r"^(j\w+|call)\s+[0-9a-f]+", r"\1 TARGET", text)
            lines.append(text.strip())
    return lines


def main() -> int:
    parser = argparse.ArgumentParser()
    for name in ["build", "source", "objdump"]:
        parser.add_argument(f"--{name}", required=True)
    arguments = parser.parse_args()
    source = pathlib.Path(arguments.source)
    commands = json.loads((pathlib.Path(arguments.build) / "compile_commands.json").read_text())
    entry = next(c for c in commands if "mpmm_malloc_objects.dir/malloc/malloc.cpp" in c["command"])
    with tempfile.TemporaryDirectory() as scratch:
        copy = pathlib.Path(scratch) / "src"
        shutil.copytree(source / "src", copy)
        seams = 0
        for file in copy.rglob("*"):
            if file.suffix in {".hpp", ".inl", ".cpp"} and file.parent.name != "verify":
                text, found = strip_seams(file.read_text())
                seams += found
                file.write_text(text)

        def compile_to(name: str, root: pathlib.Path, *extra: str) -> pathlib.Path:
            out = pathlib.Path(scratch) / f"{name}.o"
            words = [w.replace(str(source / "src"), str(root)) for w in shlex.split(entry["command"])]
            words[words.index("-o") + 1] = str(out)
            subprocess.run([*words, "-Wno-error", "-w", *extra], check=True, cwd=entry["directory"])
            return out

        with_seams = compile_to("with", source / "src")
        without = compile_to("without", copy)
        verify = compile_to("verify", source / "src", "-DMPMM_VERIFY_BUILD")
        wrong = 0
        for function in FUNCTIONS:
            a, b, v = (instructions(arguments.objdump, o, function) for o in (with_seams, without, verify))
            same = a == b
            print(f"{function}: {len(a)} instructions with the seams, {len(b)} without, {len(v)} in verify: {'same' if same else 'DIFFERENT'}")
            wrong += not same or not a or a == v
        print(f"{seams} seams taken out")
        return 1 if wrong or seams < 10 else 0


if __name__ == "__main__":
    sys.exit(main())
