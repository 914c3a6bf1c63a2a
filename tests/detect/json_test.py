#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reports in JSON: one object a line, as docs/report.schema.json says, with the same facts as in the text; also appended to log_path.

Usage: json_test.py SCHEMA LIBRARY BUGGY [EMULATOR...]
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import jsonschema

# One case of each kind; a size mismatch where operator delete takes sizes.
CASES = {
    "double-free": "double_free-24-malloc-other",
    "invalid-free": "free_interior-1000-malloc-same",
    "size-mismatch": "sized_larger-1000-operator_new-same",
    "alloc-dealloc-mismatch": "wrong_delete-1000-malloc-same",
    "heap-buffer-overflow": "overflow_byte-1000-malloc-same-at_free",
    "heap-buffer-underflow": "underflow_byte-1000-malloc-same-at_free",
    "heap-use-after-free": "stale_middle-1000-malloc-same-at_exit",
    "leak": "leak_list-1000-malloc-same-at_exit",
}


EMULATOR = sys.argv[4:]


def run(buggy: str, library: str, case: str, options: str) -> subprocess.CompletedProcess:
    # An emulator is a program of this machine: what is to be preloaded is its to set. It says when a program dies of a signal,
    # and it has a thread that cannot be stopped.
    environment = {**os.environ, "MPMM_OPTIONS": options} | ({} if EMULATOR else {"LD_PRELOAD": library})
    command = [*EMULATOR, "-E", f"LD_PRELOAD={library}"] if EMULATOR else []
    done = subprocess.run([*command, buggy, case], capture_output=True, text=True, env=environment, timeout=120, check=False)
    if EMULATOR:
        done.stderr = re.sub(r"^(qemu: uncaught target signal|mpmm: leak check: other threads could not be stopped).*\n", "", done.stderr, flags=re.MULTILINE)
    return done


def main() -> int:
    schema_path, library, buggy = sys.argv[1:4]
    schema = json.loads(pathlib.Path(schema_path).read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    problems = []
    with tempfile.TemporaryDirectory() as scratch:
        log = pathlib.Path(scratch) / "log"
        for kind, case in CASES.items():
            options = "detect_leaks=1:" if kind == "leak" else ""
            done = run(buggy, library, case, f"{options}report_format=json:log_path={log}")
            if done.stderr:
                problems.append(f"{case}: on stderr: {done.stderr[:300]}")
            text = run(buggy, library, case, options).stderr
            lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
            if not lines:
                problems.append(f"{case}: nothing in the log")
                continue
            report = json.loads(lines[-1])
            problems += [f"{case}: {error.json_path}: {error.message}" for error in validator.iter_errors(report)]
            if report["kind"] != kind or f"mpmm: {kind} on address" not in text:
                problems.append(f"{case}: kind {report['kind']}")
            # The functions of all stacks, in the order of the text.
            block = report.get("block", {})
            stacks = [leak["stack"] for leak in report["leaks"]] if "leaks" in report else [report["stack"]]
            stacks += [block[event]["stack"] for event in ("freed", "allocated") if event in block]
            functions = [frame["function"] for stack in stacks for frame in stack if "function" in frame]
            shown = re.findall(r"^    #\d+ 0x[0-9a-f]+ in (.*?)(?: [^ ]*/[^ ]+| \([^()]*\+0x[0-9a-f]+\))?$", text, re.MULTILINE)
            if functions != shown or not functions:
                problems.append(f"{case}: functions {functions} in JSON, {shown} in text")
            if report["description"].rstrip() not in text and "0x" not in report["description"]:
                problems.append(f"{case}: description {report['description']}")
        lines = [line for line in log.read_text(encoding="utf-8").splitlines() if not (EMULATOR and line.startswith("mpmm: leak check"))]
        if len(lines) != len(CASES):
            problems.append("the log does not have one line for each report")
    print("\n".join(problems) if problems else f"{len(CASES)} reports are as the schema says")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
