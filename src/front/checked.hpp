// SPDX-License-Identifier: Apache-2.0
// What stands between the APIs and the heap in the verify build. Every block of the user's lies inside a block of the heap's:
//
//     heap's block   | front redzone | user's block, as long as requested | rear redzone … |
//     record         size, family, who allocated it where, who freed it where          (outside the heap, verify/alloc_record.hpp)
//
// A freed block keeps its place in the heap while it waits in the quarantine, filled with a pattern or, when it is big, inaccessible. Some
// blocks, or all, lie on pages of their own instead (verify/guarded.hpp). Redzones and patterns are checked when a block is freed, when it
// leaves the quarantine, when somebody asks, and at the end.
//
// The API functions are where the reported stacks begin: each calls one function here, which is inlined, and which takes the caller's
// registers. Everything is thread-safe and keeps errno.
#pragma once

#include "heap/heap.hpp"
#include "platform/fault.hpp"
#include "platform/stop_world.hpp"
#include "platform/thread_pointer.hpp"
#include "platform/unwind.hpp"
#include "verify/error.hpp"
#include "verify/guarded.hpp"
#include "verify/patterns.hpp"
#include "verify/poison.hpp"
#include "verify/race_edges.hpp"
#include "verify/quarantine.hpp"
#include "verify/trace.hpp"

namespace mpmm {

template <class H>
class CheckedFront {
    using G = typename H::G;
    using Block = typename H::Block;
    using Site = unwind::Registers;

  public:
    [[gnu::always_inline]] static void* malloc(Family family, std::size_t size) {
        return allocate(unwind::caller(), family, size, default_alignment(size), false);
    }
    /// As the sized API promises: aligned to the size when that is a power of two up to a page.
    [[gnu::always_inline]] static void* sized_malloc(std::size_t size) {
        return allocate(unwind::caller(), Family::malloc, size, natural_alignment(size), false);
    }
    [[gnu::always_inline]] static void* zalloc(Family family, std::size_t size) {
        return allocate(unwind::caller(), family, size, natural_alignment(size), true);
    }
    [[gnu::always_inline]] static void* aligned(Family family, std::size_t alignment, std::size_t size, bool zero) {
        return allocate(unwind::caller(), family, size, std::max(alignment, default_alignment(size)), zero);
    }
    [[gnu::always_inline]] static void* tcache_malloc(std::size_t size) {
        return allocate(unwind::caller(), Family::malloc, size, natural_alignment(size), false, Source::cache);
    }
    [[gnu::always_inline]] static void* large_malloc(std::size_t size) {
        return allocate(unwind::caller(), Family::malloc, size, G::chunk, false);
    }

    [[gnu::always_inline]] static void free(Family family, void* block) { free_block(unwind::caller(), family, block, 0, SizeIs::unknown); }
    /// `size` must be the requested one.
    [[gnu::always_inline]] static void free_sized(Family family, void* block, std::size_t size) {
        free_block(unwind::caller(), family, block, size, SizeIs::given);
    }
    [[gnu::always_inline]] static std::size_t malloc_batch(std::size_t size, std::size_t count, void** blocks) {
        std::size_t done = 0;
        while (done != count && (blocks[done] = sized_malloc(size)) != nullptr) ++done;
        return done;
    }
    [[gnu::always_inline]] static void free_batch(std::size_t size, std::size_t count, void* const* blocks) {
        for (std::size_t i = 0; i != count; ++i) free_sized(Family::malloc, blocks[i], size);
    }
    [[gnu::always_inline]] static void* realloc(void* block, std::size_t size) {
        return move_block(unwind::caller(), block, size, 0, SizeIs::unknown);
    }
    [[gnu::always_inline]] static void* realloc_sized(void* block, std::size_t old_size, std::size_t size) {
        return move_block(unwind::caller(), block, size, old_size, SizeIs::given);
    }
    [[gnu::always_inline]] static bool resize(void* block, std::size_t old_size, std::size_t size) {
        return resize_block(unwind::caller(), block, old_size, size);
    }

    // front/inspect.inl
    static std::size_t usable_size(const void* block);
    /// Nothing is rounded: what is behind the requested size is a redzone.
    static std::size_t round_size(std::size_t size) { return size > PTRDIFF_MAX ? 0 : size; }
    static std::size_t good_alignment(std::size_t size) { return size > PTRDIFF_MAX ? 0 : natural_alignment(size); }
    static void stats(mpmm_stats& out);
    static int walk(mpmm_walk_callback callback, void* context);
    static mpmm_address_info describe(const void* address);
    /// The heap's invariants, then every block's redzones and the content of what waits in the quarantine. Returns the errors found.
    [[gnu::always_inline]] static std::size_t verify() { return check_all({unwind::caller(), "by a check"}); }
    /// Reports what nothing points to; returns the number of blocks.
    [[gnu::always_inline]] static std::size_t leak_check() { return check_leaks(0); }
    [[gnu::always_inline]] static bool trim(std::size_t keep) {
        // Whoever wants memory back wants it more than a long memory for errors.
        const Inside inside;
        const std::size_t mapped = H::shared.backend.mapped();
        let_go_overdue(unwind::caller(), 0);
        return H::trim(keep) || H::shared.backend.mapped() < mapped;
    }

    /// Once, when the library is loaded.
    static void start();
    /// When the process ends.
    static void finish();

  private:
    enum class SizeIs { unknown, given };
    enum class Source { anywhere, cache };
    /// Who looks, and when, as the report says it.
    struct Occasion {
        Site site;
        const char* when;
    };

    /// The calling thread is in here: a signal handler that ends the process must not wait for the locks it may hold.
    struct Inside {
        Inside() { ++ThreadNumber<Inside>::value; }
        ~Inside() { --ThreadNumber<Inside>::value; }
        Inside(const Inside&) = delete;
        Inside& operator=(const Inside&) = delete;

      private:
        MPMM_NO_UNIQUE_ADDRESS race_edges::Unwatched unwatched_;
    };

    static std::size_t default_alignment(std::size_t size) { return size <= 8 ? 8 : 16; }
    static std::size_t natural_alignment(std::size_t size) {
        return std::has_single_bit(size) && size <= os::whole_page<G>() ? std::max(size, default_alignment(size)) : default_alignment(size);
    }

    // ---- the way of a block ----

    /// `old`: the block that realloc() moves.
    [[gnu::noinline]] static void* allocate(const Site& site, Family family, std::size_t size, std::size_t alignment, bool zero,
                                            Source source = Source::anywhere, const void* old = nullptr);
    [[gnu::noinline]] static void free_block(const Site& site, Family family, void* user, std::size_t size, SizeIs size_is);
    [[gnu::noinline]] static void* move_block(const Site& site, void* user, std::size_t size, std::size_t old_size, SizeIs size_is);
    [[gnu::noinline]] static bool resize_block(const Site& site, void* user, std::size_t old_size, std::size_t size);
    static bool take_from_heap(const Site& site, std::size_t size, std::size_t alignment, bool zero, Source source, Place& place);
    /// Takes the record of the live block at `user`; reports otherwise.
    static bool take_live(const Site& site, void* user, Place& place);
    static bool size_fits(const AllocRecord& record, std::size_t size, SizeIs size_is);
    static bool grow_in_place(const Place& place, std::size_t size);
    /// From the program to the quarantine.
    static void retire(const Site& site, const Place& place);
    static std::size_t check_all(const Occasion& occasion);
    static void close(const Place& place);
    static void let_go_overdue(const Site& site, std::size_t limit);
    /// From the quarantine to the heap.
    static void let_go(const Occasion& occasion, const Place& place);
    static void each_chunk(const Place& place, void (*edge)(void* what));
    static void prefetch(const Place& place);
    static constexpr std::size_t look_ahead = 6, prefetched_bytes = 512;
    static std::uint64_t count_operation(const Site& site);
    static std::uint32_t store_stack(const Site& site);

    // ---- where things are ----

    /// The block that an address lies in, its redzones included; false when there is none with a record.
    static bool find(const void* address, Place& place);
    static std::byte* closed_begin(const Place& place) { return at_page(place.user + os::whole_page<G>() - 1); }
    static std::byte* closed_end(const Place& place) { return at_page(place.end()); }
    static std::byte* at_page(std::byte* address) {
        return reinterpret_cast<std::byte*>(align_down(reinterpret_cast<std::uintptr_t>(address), os::whole_page<G>()));
    }
    /// Calls visit(place) for every block with a record that is live or waits; each stays mapped during its visit.
    template <class Visit>
    static void for_each(Visit visit);
    /// Calls look(place) while the block is held in this state; not at all when it is in another one. Who wants to free it meanwhile waits.
    template <class Look>
    static void hold(const Place& found, BlockState state, Look look);

    // ---- errors: front/errors.inl ----

    static void describe_block(report::Error& error, const Place& place, bool freed);
    static report::BlockFacts facts_of(const Place& place, bool freed);
    [[gnu::cold]] static void mismatched(const Site& site, const Place& place, report::Kind kind, const char* freed_by, std::size_t size);
    [[gnu::cold]] static void bad_free(const Site& site, const void* user, const Place* place);
    /// Reports changed redzones and mends them.
    static bool check_redzones(const Occasion& occasion, const Place& place, bool freed);
    /// Reports what was written into a block that waits, and mends it.
    static bool check_freed(const Occasion& occasion, const Place& place);
    [[gnu::cold]] static void damaged(const Occasion& occasion, const Place& place, bool freed, report::Kind kind, const std::byte* first,
                                      const std::byte* begin, const std::byte* end, unsigned char value);
    /// `dead_stack`: where the frames end on the calling thread's stack that hold nothing of the program's; 0 when all may, because the
    /// registers of whoever called are saved in the frames of whoever was called.
    [[gnu::noinline]] static std::size_t check_leaks(std::uintptr_t dead_stack);
    [[gnu::noinline]] static void forget_stack();
    /// When main() returned, the C library's frames at exit are all there is, over what the program left on the stack: where they end.
    /// 0 when the program called exit().
    static std::uintptr_t stack_at_exit(const Site& site);
    struct LeakFinder;
    struct LeakCheck;
    static bool check_place(const Occasion& occasion, const Place& found);
    static bool is_whole(const Place& found);
    template <class Check>
    static bool all_of_freed(const Place& place, Check check);
    static bool fault(const void* address, fault::Access access, const void* context);
    static bool find_freed_large(const void* user, report::Error& error);

    /// Big blocks that left lately: their records are used again at once.
    struct FreedLarge {
        const std::byte* user = nullptr;
        report::BlockFacts facts;
    };
    static constexpr unsigned freed_large_count = 64;
    static inline constinit FreedLarge freed_large_[freed_large_count]{};
    static inline constinit unsigned next_freed_large_ = 0;
    /// Held while a large block's memory goes away, and by who reads them all.
    static inline constinit Mutex large_lock_{};
    /// Relaxed, as the numbers below: what follows from them needs no order.
    static inline constinit Atomic<bool> started_{false};
    /// In the child of a process with several threads: what their stacks point to is not to be told from leaks.
    static inline constinit bool lost_threads_ = false;
    static inline constinit Atomic<std::uint64_t> operations_{0};
    static inline constinit Atomic<std::size_t> closed_blocks_{0};
    static inline constinit std::size_t most_closed_ = 4096;
};

}  // namespace mpmm

#include "front/checked.inl"
#include "front/errors.inl"
#include "front/inspect.inl"
#include "front/leaks.inl"
