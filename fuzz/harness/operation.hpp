// SPDX-License-Identifier: Apache-2.0
// The language every driver speaks: a program is a header and a list of operations, all of them in records of the same length. Every byte
// string is a program, so a fuzzer can change any byte, and a change to one record leaves the others what they were.
//
//     | flavour | record 0 | record 1 | …        record: | kind | thread, variant | size, 2 bytes | slot, 2 bytes |
//
// What the numbers mean depends on the state they meet: a slot is taken modulo the number of live blocks, a size selector is looked up in
// the table of size classes (sizes.hpp). An operation that needs a live block is skipped when there is none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace mpmm::fuzz {

// name, what it does
#define MPMM_FUZZ_KINDS(X)                                                                        \
    X(malloc, "a block")                                                                          \
    X(zalloc, "a zeroed block; variant: through count x size")                                    \
    X(aligned, "an aligned block; slot: the alignment, variant: zeroed")                          \
    X(malloc_batch, "many blocks of one size; slot: how many")                                    \
    X(free, "frees one block; variant: sized, smaller size, unsized, through the thread cache")   \
    X(free_range, "frees neighbouring slots one by one; size: how many")                          \
    X(free_sparse, "frees every n-th slot; size: n")                                              \
    X(free_batch, "frees blocks of one size together")                                            \
    X(realloc, "changes the size of a block, which may move")                                     \
    X(resize, "changes the size of a block in place")                                             \
    X(pairs, "allocates and frees at once, many times; slot: how many")                           \
    X(tcache_malloc, "a block, without new memory from beyond the thread cache")                  \
    X(tcache_flush, "publishes combined frees")                                                   \
    X(tcache_release, "gives the thread's cache up; variant: for good, as a thread past its end") \
    X(tcache_init, "makes the thread's cache")                                                    \
    X(lcache_malloc, "a block of the large cache")                                                \
    X(lcache_purge, "gives the large cache's free runs back")                                     \
    X(purge, "mpmm_purge")                                                                        \
    X(trim, "mpmm_trim; size: what to keep")                                                      \
    X(time, "lets time pass; size: how much")                                                     \
    X(option, "changes when memory is purged")                                                    \
    X(persistent, "memory of the persistent allocator")                                           \
    X(backend_memory, "memory straight from the backend, purged and given back")                  \
    X(fault, "the backend refuses some calls from now on")                                        \
    X(stats, "compares the statistics with the model")                                            \
    X(walk, "compares the heap walk with the model")                                              \
    X(verify, "mpmm_verify_heap")                                                                 \
    X(find, "asks the allocator about addresses")                                                 \
    X(bad_arguments, "requests that make no sense")                                               \
    X(check, "checks the content of every block")                                                 \
    X(fork, "a child checks and uses its copy of the heap; variant: one of eight does")

// Errors of the program, which only the target that commits them has: see misuse/misuse_executor.hpp.
#define MPMM_FUZZ_MISUSES(X)                                                                      \
    X(free_again, "gives a freed block to one of the functions that take blocks; variant: which") \
    X(free_inside, "gives them an address in or beside a block; variant: which, size: where")     \
    X(free_foreign, "gives them an address of no block; size: whose")                             \
    X(free_twice, "frees a block twice in a batch")                                               \
    X(wrong_size, "frees, reallocates or resizes with another size than the block's")             \
    X(write_behind, "writes behind a block; size: how far and how much, variant: who finds it")   \
    X(write_before, "writes before a block")                                                      \
    X(write_freed, "writes into or beside a freed block")                                         \
    X(touch_guarded, "reads or writes where a guarded block is not, or no more")                  \
    X(ask_garbage, "asks for the usable size of what is no block, which is no error")             \
    X(verify_option, "changes the quarantine's size or the interval of whole checks")

enum class Kind : std::uint8_t {
#define X(name, ...) name,
    MPMM_FUZZ_KINDS(X)
#undef X
        count,
    before_misuses = count - 1,
#define X(name, ...) name,
    MPMM_FUZZ_MISUSES(X)
#undef X
        count_with_misuses
};

/// How many kinds of operations bytes stand for. The target that commits errors has more, from its start on.
inline unsigned known_kinds = static_cast<unsigned>(Kind::count);

/// Virtual threads a program has. Each has its own thread cache; they take turns on one system thread.
inline constexpr unsigned thread_count = 4;

struct Operation {
    Kind kind = Kind::malloc;
    std::uint8_t thread = 0;   ///< below thread_count
    std::uint8_t variant = 0;  ///< below variant_count
    std::uint16_t size = 0;
    std::uint16_t slot = 0;

    static constexpr unsigned variant_count = 64;
    static constexpr std::size_t record_size = 6;

    friend bool operator==(const Operation&, const Operation&) = default;
};

struct Program {
    std::uint8_t flavour = 0;  ///< of the backend, see TestBackend
    std::vector<Operation> operations;

    static constexpr std::size_t header_size = 1;

    friend bool operator==(const Program&, const Program&) = default;
};

/// One record; `bytes` has Operation::record_size of them.
Operation decode_operation(const std::uint8_t* bytes);
void encode_operation(const Operation& operation, std::uint8_t* bytes);

/// Never fails. What is left over at the end, less than a record, is ignored.
Program decode(std::span<const std::uint8_t> bytes);
std::vector<std::uint8_t> encode(const Program& program);

}  // namespace mpmm::fuzz
