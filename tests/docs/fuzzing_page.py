#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the commands of docs/fuzzing.md for a target of one's own, as they are written there, in a folder where the project seems to lie.

The first builds the sample's target, the second must find its mistake and keep the input, the third must show it again.

Usage: fuzzing_page.py --source ROOT --lib DIRECTORY
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--source", required=True, type=pathlib.Path)
    parser.add_argument("--lib", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    page = (arguments.source / "docs" / "fuzzing.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- own target -->\n```sh\n(.*?)```\n<!-- end -->", page, re.DOTALL)
    commands = block.group(1).replace("\\\n", " ").strip().splitlines() if block else []
    if len(commands) != 3:
        print("docs/fuzzing.md does not have the three commands")
        return 1
    environment = {name: value for name, value in os.environ.items() if name not in ("LD_PRELOAD", "MPMM_OPTIONS", "LD_LIBRARY_PATH")}
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        for name in ("docs", "include"):
            (folder / name).symlink_to(arguments.source / name)
        (folder / "build" / "release").mkdir(parents=True)
        (folder / "build" / "release" / "lib").symlink_to(arguments.lib)
        for number, command in enumerate(commands):
            done = subprocess.run(["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120)
            found = "ERROR: mpmm: heap-use-after-free" in done.stderr and "in catalog_remove docs/sample/catalog.c" in done.stderr.replace(str(folder) + "/", "")
            if (done.returncode == 0) != (number == 0) or found != (number != 0):
                print(f"{command}\nended with {done.returncode}:\n{done.stderr[-5000:]}")
                return 1
        kept = [file.name for file in folder.glob("crash-*")]
    print(f"found and shown again: {kept}")
    return 0 if len(kept) == 1 else 1


if __name__ == "__main__":
    sys.exit(main())
