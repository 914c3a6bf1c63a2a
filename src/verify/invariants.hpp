// SPDX-License-Identifier: Apache-2.0
// The names of everything that must hold inside the allocator, each with its meaning. A report of allocator corruption carries the name of
// one of these; the checks, the tests and docs use no other.
//
//     X(constant, name, meaning)
#pragma once

#include <cstddef>

// clang-format off
#define MPMM_INVARIANTS(X) \
    X(new_free_map, "a new block allocator's free map", "all of its own blocks are free, and only those") \
    X(new_remote_map, "a new block allocator's remote map", "nothing of the slot's last life is left") \
    X(handed_out_in_range, "a handed-out block is in range", "its number is below the count of blocks") \
    X(handed_out_here, "a bin's blocks are where its block allocator's are", \
      "the slot did not go back since the bin was aimed") \
    X(handed_out_not_reserved, "no reserved block is handed out", "an intrusive header's blocks are nobody's") \
    X(handed_out_not_free, "a handed-out block is not free", "its bit left the free map first") \
    X(handed_out_not_remote, "a handed-out block is not in the remote map", "nobody freed it since it became free") \
    X(one_user, "a block has one user", "it was not held when it was handed out") \
    X(published_is_nobodys, "a remotely freed block is nobody's", "it left its user's hands before its bit is published") \
    X(published_in_range, "a remotely freed block is in range", "a published bit stands for a block") \
    X(published_in_use, "a remote free reaches a block allocator in use", "its slot cannot have gone back") \
    X(published_once, "a block is published once", "between publication and reclaim there is no second free") \
    X(drained_published, "every drained block was published", "a remote bit that no seam set is not a free") \
    X(drained_is_nobodys, "a drained block is nobody's", "it was not handed out on its way back") \
    X(drained_in_use, "only a block allocator in use is drained", "somebody owns it, or it is an orphan") \
    X(legal_transition, "owner states change legally", "only as drawn in block/owner_state.hpp") \
    X(one_list, "a block allocator is on one list at most", "it enters a list from none, and leaves the one it is on") \
    X(given_back_free, "all blocks are free when a slot goes back", "the free map is as it was when created") \
    X(given_back_nobodys, "nobody holds a block of a slot that goes back", "the verifier's record agrees with the free map") \
    X(given_back_reclaimed, "no remote free is left when a slot goes back", "everything published was reclaimed") \
    X(free_remote_disjoint, "free and remote map are disjoint", "a block comes back on one way") \
    X(reserved_bits, "reserved and out-of-range bits keep their value", "they never read as a free block") \
    X(remote_bits, "remote bits stand for blocks", "no wild free set one") \
    X(free_not_held, "no block is both free and held", "the free map agrees with the verifier's record") \
    X(remote_not_held, "no block is both remotely freed and held", "the remote map agrees with the verifier's record") \
    X(remote_published, "every remote bit was published", "only a remote free sets one") \
    X(published_arrives, "what was published is in the remote map until it is drained", "no remote free gets lost") \
    X(combined_once, "a combined block is nowhere else", "not free, not in the remote map, not held, and in one combining buffer") \
    X(every_block_somewhere, "every block is free, freed or held", "the bits of all maps add up to the count of blocks") \
    X(block_shape, "a block allocator has its class's shape", "size, count and division belong to its size class") \
    X(legal_owner, "a used slot's block allocator has a legal owner state", "a large run's or nobody's word would misdirect frees") \
    X(owner_at_seam, "owner words change at seams only", "the word is the one the last seam told") \
    X(owner_registered, "an owner is a registered cache", "the address in the owner word is one of the registry's") \
    X(in_its_slot, "a block allocator lies in its chunk's slot", "the way from an address to its tenant ends at it") \
    X(list_pointer, "lists lead to block allocators in use", "the pointer is one that the chunk map leads to") \
    X(list_links, "list links point back", "previous of next is this one, and the tail is the last") \
    X(list_class, "a list holds one size class", "bin, waiting list and orphan list are of the block's class") \
    X(listed_record, "the record says whether a block allocator is on a list", "what the seams told is what is found") \
    X(in_bin_flag, "a block allocator knows whether a bin has it", "in_bin is true in a bin and nowhere else") \
    X(bin_owner, "a bin's block allocator is usable and its cache's", "the owner word is the cache, active or checked") \
    X(bin_word, "a bin takes from a word it may take from", "of its block allocator, of its combining buffer, or the zero word") \
    X(waiting_owner, "a waiting block allocator is usable and its cache's", "the owner word is the cache, active or checked") \
    X(recovered_owner, "a recovered block allocator is queued for its cache", "the owner word is the cache, queued") \
    X(orphan_owner, "an orphan belongs to nobody", "the owner word says orphan") \
    X(full_on_no_list, "a full block allocator is on no list", "frees find it through the chunk map only") \
    X(in_one_place, "a block allocator in use is in exactly one place", \
      "a bin, a waiting, recovered or orphan list, or full and in none") \
    X(combined_key, "combined frees name a block allocator in use", "of the entry's size class, with a word it has") \
    X(direct_table, "the table of small sizes leads to their bins", "every step of eight bytes has the bin of its class") \
    X(zero_word, "the zero word is zero", "an empty bin has no blocks") \
    X(idle_cache, "a cache without a thread holds nothing", "bins, lists and combining buffer were emptied at its end") \
    X(caches_counted, "caches in use and waiting add up", "every cache of the registry is one or the other") \
    X(chunk_pointer, "pool lists lead to chunks", "the pointer is mapped, aligned, and the chunk is of the pool's kind") \
    X(chunk_links, "a pool's links point back", "previous of next is this one") \
    X(chunk_usable, "the chunks with free slots are the usable ones", "an exhausted chunk is on no list of usable ones") \
    X(chunk_entry, "a chunk's map entry points at its record", "what frees look up is what the pool has") \
    X(free_slots_counted, "a chunk's free slots are counted", "the count is the number of bits") \
    X(slot_bits, "slot bits stand for slots", "dirty slots are free, aged ones dirty, none out of range") \
    X(free_slot_unowned, "a free slot has no owner", "frees into it are reported") \
    X(run_pointer, "the large cache's lists lead to runs", "the pointer is mapped and aligned") \
    X(run_links, "the large cache's links point back", "previous of next is this one") \
    X(run_list, "a free run is in the list of its length", "best fit relies on it") \
    X(free_run_owner, "a free run's owner word", "says that it is free") \
    X(free_run_first, "a free run is tagged at its first chunk", "the neighbour before it finds it") \
    X(free_run_last, "a free run is tagged at its last chunk", "the neighbour behind it finds it") \
    X(free_run_inside, "the inside of a free run belongs to nobody", "no entry leads into memory that is free") \
    X(cached_sum, "the large cache's size is the sum of its runs", "cached_bytes counts them") \
    X(entry_tenant, "a map entry leads to a live descriptor", "a chunk of a pool, a large block or a free run") \
    X(entry_covers, "the descriptor of a map entry covers its chunk", "the entry is where the descriptor says") \
    X(runs_disjoint, "chunks have one descriptor", "runs and chunks do not overlap") \
    X(used_bytes, "the large blocks' sizes add up", "to the statistics' bytes") \
    X(used_blocks, "the large blocks are counted", "by the statistics, one map entry each")
// clang-format on

namespace mpmm::invariant {

#define MPMM_INVARIANT_NAME(constant, text, meaning) inline constexpr const char* constant = text;
MPMM_INVARIANTS(MPMM_INVARIANT_NAME)
#undef MPMM_INVARIANT_NAME

struct Row {
    const char* name;
    const char* meaning;
};
#define MPMM_INVARIANT_ROW(constant, text, meaning) {constant, meaning},
inline constexpr Row all[] = {MPMM_INVARIANTS(MPMM_INVARIANT_ROW)};
#undef MPMM_INVARIANT_ROW

}  // namespace mpmm::invariant
