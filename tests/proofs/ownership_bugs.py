# SPDX-License-Identifier: Apache-2.0
"""Bugs for the model of ownership: what it says, the bounds that are enough to see it, and the text to replace, which occurs once."""

BUGS: list[tuple[str, str, dict[str, str]]] = [
    ("retire() does not read the remote map again", "reuse", {
        "move(a, IN_BIN(c), NOWHERE); current = 0; }\n    worth_waking();": "move(a, IN_BIN(c), NOWHERE); current = 0; }"}),
    ("retire() reads the remote map before it says full", "reuse", {
        "    returned[a] = 0;\n    atomic { owner[a] = FULL(c); move(a, IN_BIN(c), NOWHERE); current = 0; }\n    worth_waking();":
        "    worth_waking();\n    returned[a] = 0;\n    atomic { owner[a] = FULL(c); move(a, IN_BIN(c), NOWHERE); current = 0; }"}),
    ("retire() stores the owner word instead of compare-exchange", "reuse", {
        "    :: atomic { sum >= WAKE && owner[a] != FULL(c) -> sum = 0; }\n"
        "    :: atomic { sum >= WAKE && owner[a] == FULL(c) -> owner[a] = ACTIVE(c); sum = 0; }\n        drain();":
        "    :: atomic { sum >= WAKE -> owner[a] = ACTIVE(c); sum = 0; }\n        drain();"}),
    ("publish() reads the owner word before it sets the bits", "reuse", {
        "inline publish() {": "inline publish() {\n    own = owner[a];",
        ":: atomic { IS_FULL(owner[a]) -> k = CACHE_OF(owner[a]); }": ":: atomic { IS_FULL(own) -> k = CACHE_OF(own); }",
        ":: !IS_FULL(owner[a]) -> skip;": ":: !IS_FULL(own) -> skip;"}),
    ("publish() loads and stores the remote map", "reuse", {
        "        remote_map[AT(a, w)] = remote_map[AT(a, w)] | m; m = 0; w = 0; }":
        "        f = remote_map[AT(a, w)]; }\n    atomic { remote_map[AT(a, w)] = f | m; f = 0; m = 0; w = 0; }"}),
    ("drain() loads and clears the remote map", "reuse", {
        "atomic { m = remote_map[AT(a, w)]; remote_map[AT(a, w)] = 0;": "m = remote_map[AT(a, w)];\n        atomic { remote_map[AT(a, w)] = 0;"}),
    ("worth_waking() counts one word", "two words", {
        ":: w == WORDS || sum >= WAKE -> w = 0; break;": ":: true -> w = 0; break;"}),
    ("count_returned() does not wake", "threshold", {
        ":: atomic { sum < WAKE -> sum = 0; }\n        :: atomic { sum >= WAKE && owner[a] != FULL(c) -> sum = 0; }":
        ":: sum = 0;\n        :: atomic { sum >= WAKE && owner[a] != FULL(c) -> sum = 0; }"}),
    ("wake() stores the owner word instead of compare-exchange", "reuse", {
        "    :: atomic { sum >= WAKE && owner[a] != FULL(k) -> sum = 0; }\n"
        "    :: atomic { sum >= WAKE && owner[a] == FULL(k) -> owner[a] = QUEUED(k); sum = 0; }":
        "    :: atomic { sum >= WAKE -> owner[a] = QUEUED(k); sum = 0; }"}),
    ("wake() stores the head of the recovered list", "two block allocators", {
        ":: recovered[k] == h -> recovered[k] = a + 1;": ":: next_recovered[a] == h -> recovered[k] = a + 1;"}),
    ("wake() does not ask whether the cache has a thread", "reuse", {
        ":: alive[k] -> skip;\n        :: !alive[k] -> rescue();": ":: true -> skip;"}),
    ("wake_own() stores the owner word instead of compare-exchange", "reuse", {
        "        :: atomic { sum >= WAKE && owner[a] != FULL(c) -> sum = 0; }\n"
        "        :: atomic { sum >= WAKE && owner[a] == FULL(c) -> owner[a] = ACTIVE(c); sum = 0; }\n            activate();":
        "        :: atomic { sum >= WAKE -> owner[a] = ACTIVE(c); sum = 0; }\n            activate();"}),
    ("rescue() does not ask whether the cache has a thread again", "reuse", {
        "    :: atomic { !recover_lock[k] && alive[k] -> skip; }\n    :: atomic { !recover_lock[k] && !alive[k] -> recover_lock[k] = true; }":
        "    :: atomic { !recover_lock[k] -> recover_lock[k] = true; }"}),
    ("rescue() does not lock", "reuse", {
        "    :: atomic { !recover_lock[k] && alive[k] -> skip; }\n    :: atomic { !recover_lock[k] && !alive[k] -> recover_lock[k] = true; }":
        "    :: alive[k] -> skip;\n    :: !alive[k] -> skip;"}),
    ("revive() does not lock", "reuse", {"atomic { !recover_lock[c] -> alive[c] = true; }": "alive[c] = true;"}),
    ("retire_cache() does not empty the recovered list", "reuse", {
        "    atomic { alive[c] = false; k = c; }\n    rescue();": "    atomic { alive[c] = false; k = c; }"}),
    ("collect_recovered() does not lock", "purge", {"atomic { !recover_lock[c] -> h = recovered[c];": "atomic { h = recovered[c];"}),
    ("a block allocator is given back while the bin uses it", "reuse", {
        "atomic { current != a + 1 && all_free && !pool_lock ->": "atomic { all_free && !pool_lock ->",
        ":: current == a + 1 || !all_free -> skip;": ":: !all_free -> skip;"}),
    ("OrphanList::pop() does not lock", "adoption", {
        ":: atomic { !orphans_lock && orphans != 0 ->\n"
        "                        if :: (orphans & 1) != 0 -> a = 0; :: (orphans & 2) != 0 -> a = 1; fi;":
        ":: orphans != 0 -> if :: (orphans & 1) != 0 -> a = 0; :: (orphans & 2) != 0 -> a = 1; fi;\n"
        "                    atomic {"}),
    ("OrphanList::filter() does not lock", "purge", {"atomic { !orphans_lock -> orphans_lock = true; h = orphans; }": "h = orphans;"}),
]
