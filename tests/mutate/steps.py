# SPDX-License-Identifier: Apache-2.0
"""What a mutant has to survive, quickest first. A library is built in seconds and everything that knows only its API runs at once; the tests
of single layers include the layers' headers, and compile as long as everything else takes together."""
import dataclasses

TREES = {
    "plain": [],
    "fuzz": ["-DMPMM_BUILD_FUZZ=ON", "-DMPMM_BUILD_TESTS=OFF"],
    "schedule": ["-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_CXX_FLAGS_RELEASE=", "-DCMAKE_C_FLAGS_RELEASE="],
    "tsan": ["-DMPMM_SANITIZE=thread", "-DMPMM_BUILD_FUZZ=ON"],
}
# No warning is of interest; tests are not listed while they are built, because a mutant may hang in that.
CONFIGURATION = [
    "-DCMAKE_BUILD_TYPE=None",
    "-DCMAKE_C_COMPILER=clang-19",
    "-DCMAKE_CXX_COMPILER=clang++-19",
    "-DCMAKE_C_FLAGS=-O1 -w",
    "-DCMAKE_CXX_FLAGS=-O1 -w",
    "-DCMAKE_GTEST_DISCOVER_TESTS_DISCOVERY_MODE=PRE_TEST",
    "-DCMAKE_LINK_DEPENDS_NO_SHARED=ON",
    "-DMPMM_BUILD_TOOLS=OFF",
]
ARTIFACTS = "artifacts"  # the folder in {work} for what fuzzers keep
FUZZER = ("-seed=1", "-timeout=20", "-max_len=301")

# As in the tests' CMakeLists.txt.
UNTOUCHED = {"MPMM_OPTIONS": "quarantine_bytes=0:guard_sample_rate=0"}
NO_NAMES = {"MPMM_OPTIONS": "symbolizer=0"}

# The unit tests of each layer, below tests/. Those after the bar are parts of machinery_test, or of layers_verify_test only.
UNIT = {
    "platform": "platform/bits platform/lock"
    " | platform/modules platform/roots platform/stop_world platform/unwind_code platform/unwind verify/symbolize",
    "backend": "backend/backend",
    "persistent": "persistent/persistent",
    "chunkmap": "chunkmap/chunk_map",
    "largecache": "largecache/large_cache",
    "block": "block/block_allocator block/size_classes",
    "tcache": "tcache/thread_cache",
    "heap": "verify/invariants heap/heap | verify/invariants_lists verify/seams",
    "front": "| verify/fork_locks",
    "api": "",
    "verify": "verify/invariants verify/running | verify/quarantine verify/invariants_lists verify/seams verify/reachability verify/symbolize",
}
# The fuzz targets that know a layer best.
FUZZERS = {
    "chunkmap": ("fuzz_chunk_map",),
    "largecache": ("fuzz_large_cache",),
    "block": ("fuzz_block_allocator", "fuzz_size_classes"),
    "backend": ("fuzz_backend_faults",),
    "front": ("fuzz_misuse",),
    "verify": ("fuzz_options", "fuzz_misuse"),
    "malloc": ("fuzz_malloc_abi_verify", "fuzz_malloc_abi"),
}
# Long tests of one thread.
ALONE = "HeapTest/*.RandomOperationsKeepContents:HeapTest/*.EverySizesTrafficPurges"
MACHINERY = {"modules", "roots", "stop_world", "unwind_code", "unwind", "reachability", "symbolize"}


@dataclasses.dataclass(frozen=True)
class Step:
    name: str
    tree: str
    targets: tuple
    command: tuple  # the first word is a program in bin/; {source} and {work} are folders
    environment: tuple = ()
    library: str = ""  # the objects that are all it has of the allocator, but for what a unit test includes itself
    unit: str = ""  # the object of one test, to be linked with the library's


def unit_steps(layer):
    both, _, verify = UNIT[layer].partition("|")
    for mode in ("_verify", ""):
        for test in (both + verify if mode else both).split():
            program = "machinery_test" if test.split("/")[1] in MACHINERY else f"layers{mode}_test"
            test_object = f"tests/CMakeFiles/{program}.dir/{test}_test.cpp.o"
            name = test.replace("/", "_") + mode
            library = f"mpmm{mode}_objects"
            yield Step(name, "plain", (test_object, library), (name, "--gtest_brief=1"), tuple(NO_NAMES.items()), library, test_object)


def programs(*tests, library="", environment=None, tree="plain"):
    for test in tests:
        yield Step(test, tree, (test,), (test, "--gtest_brief=1"), tuple((environment or {}).items()), library)


def api(mode):
    library = f"mpmm{mode}_objects"
    replay = f"replay_heap{mode}"
    yield Step(replay, "plain", (replay,), (replay, "{source}/fuzz/corpus/fuzz_heap"), library=library)
    yield from programs(f"api_test{mode}", f"api_start_test{mode}", library=library, environment=UNTOUCHED)


def fuzz(target, seconds, tree="fuzz"):
    options = (*FUZZER, f"-artifact_prefix={{work}}/{ARTIFACTS}/", f"-max_total_time={seconds}")
    return Step(target, tree, (target,), (target, *options, "{work}/found", "{source}/fuzz/corpus"))


def steps(mutant):
    layer = mutant.layer
    if layer == "malloc":  # in no other library
        yield from programs("abi_test", "misuse_test", "settings_test", "hostile_test", "detect_test")
        for target in FUZZERS[layer]:
            yield fuzz(target, 10)
        return
    yield from api("_verify")
    yield from api("")
    yield from unit_steps(layer)
    yield from programs("properties_verify", "properties")
    if layer in ("platform", "front", "verify"):
        yield from programs("detect_test", "settings_test", "hostile_test", library="mpmm_malloc_verify_objects")
    if layer in ("platform", "api", "front"):
        yield from programs("abi_test", "misuse_test")
    if mutant.mutated == ";":
        yield fuzz("fuzz_schedule_verify", 30)
        yield fuzz("fuzz_schedule", 30)
    for mode in ("_verify", ""):
        yield from programs(f"stress_test{mode}", library=f"mpmm{mode}_objects", environment=UNTOUCHED)
    for target in (*FUZZERS.get(layer, ()), "fuzz_heap_verify"):
        yield fuzz(target, 10)


def order_steps(mutant):
    """For a weaker memory order: who knows what it allows, in the mode that has it, quickest first."""
    mode = "_verify" if mutant.layer in ("front", "verify", "platform") else ""
    explore, replay, layers = f"explore_schedules{mode}", f"replay_threads{mode}", f"layers{mode}_test"
    # Verify takes ten times the steps.
    scenarios = (explore, "--scenarios", "--delays", "0" if mode else "1")
    scheduled = mutant.layer != "platform" or mutant.file.endswith("lock.hpp")
    weak_memory = [Step(explore, "schedule", (explore,), (*scenarios, "--old-values", "1"))] if scheduled else []
    handshakes = mutant.layer in ("block", "tcache")
    if handshakes:
        yield from weak_memory
    if scheduled:
        yield Step(replay, "tsan", (replay,), (replay, "{source}/fuzz/corpus/fuzz_threads"))
    yield from programs(f"stress_test{mode}", environment=UNTOUCHED, tree="tsan")
    # One thread has no use for an order.
    yield Step(layers, "tsan", (layers,), (layers, "--gtest_brief=1", f"--gtest_filter=-{ALONE}"), tuple(NO_NAMES.items()))
    if not handshakes:
        yield from weak_memory
    if scheduled:
        yield Step(f"{explore} under TSan", "tsan", (explore,), scenarios)
        yield dataclasses.replace(fuzz(f"fuzz_schedule{mode}", 20, "tsan"), name=f"fuzz_schedule{mode} under TSan")
