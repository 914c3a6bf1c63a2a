#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the source's rules: layers include only those before them, and threads, locks and atomics stay in platform/.

Usage: layers.py SRC. Exits 1 and names each line that breaks a rule.
"""
import pathlib
import re
import sys

# Each folder may include itself and the folders before it; verify/ sits beside them, so anybody may include it, but it includes only
# platform/, block/owner_state.hpp (the words it checks) and, from the check of a whole heap, nothing more.
ORDER = ["platform", "backend", "persistent", "chunkmap", "largecache", "block", "tcache", "heap", "front", "api", "malloc"]
# The tenant words are shared vocabulary: large runs and block allocators are both tenants of the chunk map.
SHARED = {"block/owner_state.hpp", "block/tenant_map.hpp"}
RAW = [
    (r"\bstd::atomic\b", "std::atomic"),
    (r"\bthread_local\b", "thread_local"),
    (r"\bstd::(mutex|lock_guard|unique_lock|once_flag|call_once|thread)\b", "standard threads and locks"),
    (r"\bpthread_\w+", "pthread"),
    (r"__atomic_|__sync_", "atomic builtins"),
    (r"#\s*include\s*<(atomic|mutex|thread|pthread\.h)>", "a threads header"),
]
MAX_LINES = 400


def main() -> int:
    source = pathlib.Path(sys.argv[1])
    wrong = []
    files = [f for f in source.rglob("*") if f.suffix in {".hpp", ".cpp", ".inl", ".h"}]
    for file in sorted(files):
        name = file.relative_to(source).as_posix()
        layer = name.split("/")[0]
        lines = file.read_text().splitlines()
        if len(lines) > MAX_LINES:
            wrong.append(f"{name}: {len(lines)} lines, at most {MAX_LINES}")
        for number, line in enumerate(lines, 1):
            included = re.match(r'#\s*include\s+"([^"]+)"', line)
            if included and layer in ORDER:
                target = included.group(1)
                other = target.split("/")[0]
                if other in ORDER and target not in SHARED and ORDER.index(other) > ORDER.index(layer):
                    wrong.append(f"{name}:{number}: {layer} must not include {target}")
            if included and layer == "verify":
                target = included.group(1)
                if target.split("/")[0] not in {"verify", "platform", "mpmm"} and target not in SHARED:
                    wrong.append(f"{name}:{number}: verify must not include {target}")
            code = line.split("//")[0]
            if layer in {"platform", "tools"}:
                continue
            for pattern, what in RAW:
                if re.search(pattern, code):
                    wrong.append(f"{name}:{number}: {what} outside platform/")
    print("\n".join(wrong) if wrong else f"{len(files)} files keep the rules")
    return 1 if wrong or len(files) < 20 else 0


if __name__ == "__main__":
    sys.exit(main())
