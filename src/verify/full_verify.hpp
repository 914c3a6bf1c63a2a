// SPDX-License-Identifier: Apache-2.0
// The verifier of the verify build. Every block allocator gets a record beside its bitmaps: which blocks the user holds, kept apart from
// the free map, so that neither can be wrong without the other showing it; and whether it is on a list.
#pragma once

#include "block/owner_state.hpp"
#include "verify/alloc_record.hpp"
#include "verify/options.hpp"
#include "verify/quarantine.hpp"
#include "verify/report.hpp"
#include "verify/threads.hpp"

#include <bit>
#include <cstdint>

namespace mpmm {

struct FullVerify {
    static constexpr bool enabled = true;

    struct BlockRecord {
        static constexpr unsigned max_words = 32;
        /// One bit per block the user holds. Any thread clears bits; only the owner sets them.
        Atomic<std::uint64_t> live[max_words]{};
        bool listed = false;
        /// One for each block, for front/; kept when the slot gets another life. None for intrusive block allocators.
        AllocRecord* allocations = nullptr;
    };
    using RunRecord = AllocRecord;

    /// Where a bin's word belongs.
    struct BinRecord {
        void* block = nullptr;
        unsigned first = 0;
    };

    /// A block allocator is about to be set up: gets it records; false when there is no memory for them.
    template <class B, class Memory>
    static bool prepare(B& block, Memory& memory, bool intrusive) {
        if (intrusive) {
            block.record.allocations = nullptr;
            return true;
        }
        AllocRecord*& records = block.record.allocations;
        if (records != nullptr) {
            // The last life's: only its state counts.
            for (unsigned i = 0; i < B::words * 64; ++i)
                if (records[i].state.load(relaxed) != BlockState::unused) records[i].state.store(BlockState::unused, relaxed);
            return true;
        }
        records = static_cast<AllocRecord*>(memory.allocate(B::words * 64 * sizeof(AllocRecord), alignof(AllocRecord)));
        return records != nullptr;
    }
    /// A block allocator was set up: nothing is handed out, and exactly its own blocks are free.
    template <class B>
    static void created(B& block) {
        for (unsigned w = 0; w < B::words; ++w) {
            block.record.live[w].store(0, relaxed);
            expect("a new block allocator's free map", block, block.free_map[w].load(relaxed), block.initial_word(w));
            expect("a new block allocator's remote map", block, block.remote_map[w].load(relaxed), 0);
        }
        block.record.listed = false;
    }
    /// Block `index` goes to the user.
    template <class B>
    static void handed_out(B& block, unsigned index) {
        const unsigned w = index / 64;
        const std::uint64_t bit = std::uint64_t{1} << (index % 64);
        if (index >= block.blocks) report::corruption("a handed-out block is in range", &block, index, block.blocks);
        if (block.is_reserved(index)) report::corruption("no reserved block is handed out", &block, index, block.reserved_first);
        expect("a handed-out block is not free", block, block.free_map[w].load(relaxed) & bit, 0);
        expect("a handed-out block is not in the remote map", block, block.remote_map[w].load(relaxed) & bit, 0);
        expect("a block has one user", block, block.record.live[w].fetch_or(bit, relaxed) & bit, 0);
    }
    /// A bin takes from word `w` of `block` from now on.
    template <class B>
    static void aimed(BinRecord& bin, B& block, unsigned w) {
        bin = {&block, w * 64};
    }
    /// The block of bit `bit` of a bin's word goes to the user.
    template <class B>
    static void handed_out_from(BinRecord& bin, unsigned bit) {
        handed_out(*static_cast<B*>(bin.block), bin.first + bit);
    }
    /// Block `index` comes back from any thread; false when nobody held it.
    template <class B>
    static bool returned(B& block, unsigned index) {
        const std::uint64_t bit = std::uint64_t{1} << (index % 64);
        // acq_rel: of two frees in different threads the second sees the first, at once.
        return (block.record.live[index / 64].fetch_and(~bit, acq_rel) & bit) != 0;
    }
    /// `mask` is about to be set in word `w` of the remote map: the user must hold none of these blocks any more.
    template <class B>
    static void remote_published(B& block, unsigned w, std::uint64_t mask) {
        expect("a remotely freed block is nobody's", block, block.record.live[w].load(relaxed) & mask, 0);
        expect("a remotely freed block is in range", block, mask & ~block.initial_word(w), 0);
    }
    /// The remote map was taken over into the free map.
    template <class B>
    static void drained(B& block) {
        check_maps(block);
    }
    template <class B>
    static void owner_changed(B& block, std::uintptr_t from, std::uintptr_t to) {
        if (!legal_transition(Owner(from).state(), Owner(to).state())) report::corruption("owner states change legally", &block, to, from);
    }
    /// The block allocator enters or leaves a list.
    template <class B>
    static void listed(B& block, bool enters) {
        if (block.record.listed == enters)
            report::corruption("a block allocator is on one list at most", &block, block.record.listed, !enters);
        block.record.listed = enters;
    }
    /// The slot goes back: every block must be free.
    template <class B>
    static void given_back(B& block) {
        for (unsigned w = 0; w < B::words; ++w) {
            expect("all blocks are free when a slot goes back", block, block.free_map[w].load(relaxed), block.initial_word(w));
            expect("nobody holds a block of a slot that goes back", block, block.record.live[w].load(relaxed), 0);
        }
    }
    /// In fork's child a record may be older than the maps, which other threads changed while the kernel copied pages: the maps are right.
    template <class B>
    static void after_fork(B& block) {
        for (unsigned w = 0; w < B::words; ++w) {
            const std::uint64_t free = (block.free_map[w].load(relaxed) & block.block_mask(w)) | block.remote_map[w].load(relaxed);
            block.record.live[w].fetch_and(~free, relaxed);
        }
    }
    /// The calling thread ends: what waits in its name is everybody's.
    static void thread_ends() {
        quarantine::publish();
        verify_threads::ends();
    }
    /// Runs the whole-heap check every check_interval slow paths.
    template <class Heap>
    static void slow_path() {
        const std::uint64_t interval = options::get(options::check_interval);
        if (interval != 0 && slow_paths_.fetch_add(1, relaxed) % interval == interval - 1) Heap::verify();
    }

    /// Everything that must hold between the maps of one block allocator when its owner looks.
    template <class B>
    static void check_maps(B& block) {
        for (unsigned w = 0; w < B::words; ++w) {
            const std::uint64_t free = block.free_map[w].load(relaxed), mask = block.initial_word(w);
            expect("free and remote map are disjoint", block, free & block.remote_map[w].load(relaxed), 0);
            expect("reserved and out-of-range bits keep their value", block, free & ~block.block_mask(w), mask & ~block.block_mask(w));
            expect("no block is both free and held", block, free & block.block_mask(w) & block.record.live[w].load(relaxed), 0);
        }
    }

  private:
    template <class B>
    static void expect(const char* invariant, B& block, std::uint64_t found, std::uint64_t expected) {
        if (found != expected) report::corruption(invariant, &block, found, expected);
    }

    static inline constinit Atomic<std::uint64_t> slow_paths_{0};
};

}  // namespace mpmm
