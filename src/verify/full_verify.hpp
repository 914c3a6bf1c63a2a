// SPDX-License-Identifier: Apache-2.0
// The verifier of the verify build. Every block allocator gets a record beside its bitmaps: which blocks the user holds, kept apart from
// the free map, so that neither can be wrong without the other showing it; which blocks are on their way back from other threads; the owner
// word as the seams told it; and whether it is on a list. A thread holds its cache's lock in every slow path, so that the check of the
// whole heap sees caches between their changes.
#pragma once

#include "block/owner_state.hpp"
#include "platform/lock.hpp"
#include "platform/thread.hpp"
#include "verify/alloc_record.hpp"
#include "verify/invariants.hpp"
#include "verify/quarantine.hpp"
#include "verify/report.hpp"
#include "verify/threads.hpp"

#include <bit>
#include <cstdint>

namespace mpmm {

struct FullVerify {
    static constexpr bool enabled = true;

    template <unsigned Words>
    struct BlockRecord {
        /// One for each block, for front/; kept when the slot gets another life. None for intrusive block allocators. First, to share a line
        /// with the words that every block handed out touches.
        AllocRecord* allocations = nullptr;
        // Relaxed, but where two frees meet: a block goes from hand to hand as the program orders it, and comes back as the maps do.
        /// One bit per block the user holds. Any thread clears bits; only the owner sets them.
        Atomic<std::uint64_t> live[Words]{};
        /// One bit per remote free from its publication until the owner drains it. The publisher sets bits, who drains clears them.
        Atomic<std::uint64_t> published[Words]{};
        /// The thread that published last in each word, for who looks at a report's block allocator in a debugger.
        Atomic<const void*> publisher[Words]{};
        /// The owner word that the seams told. Written by who changes the word: before a plain store, after a successful exchange.
        Atomic<std::uintptr_t> owner{0};
        bool listed = false;
        /// Older than the fork that made this process: other threads' part of it is not here.
        bool inherited = false;
        std::uint8_t found = 0;  ///< places the running check found it in
        bool found_in_bin = false, found_listed = false;
    };
    using RunRecord = AllocRecord;

    /// Where a bin's word belongs.
    struct BinRecord {
        void* block = nullptr;
        unsigned first = 0;
        const void* base = nullptr;  ///< of the block allocator, when the bin was aimed at it
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
    /// A cache's lock. Its thread may hold it several times over: a report's handler may allocate.
    struct CacheRecord {
        Mutex lock;
        Atomic<const void*> holder{nullptr};
        bool lost = false;  ///< in fork's child: its thread is not here, and nobody uses it again
    };
    class Hold {
      public:
        // relaxed: only this thread can have stored its own identity.
        explicit Hold(CacheRecord& record) : record_(record.holder.load(relaxed) == thread::self() ? nullptr : &record) {
            if (record_ == nullptr) return;
            record_->lock.lock();
            record_->holder.store(thread::self(), relaxed);
        }
        ~Hold() {
            if (record_ == nullptr) return;
            record_->holder.store(nullptr, relaxed);
            record_->lock.unlock();
        }
        Hold(const Hold&) = delete;
        Hold& operator=(const Hold&) = delete;

      private:
        CacheRecord* record_;
    };
    template <class Visit>
    static void for_each_lock(CacheRecord& record, Visit visit) {
        visit(record.lock);
    }
    static void cache_after_fork(CacheRecord& record, bool lost) {
        record.holder.store(nullptr, relaxed);
        record.lost = record.lost || lost;
    }

    /// A block allocator was set up: nothing is handed out, and exactly its own blocks are free.
    template <class B>
    static void created(B& block) {
        for (unsigned w = 0; w < B::words; ++w) {
            block.record.live[w].store(0, relaxed);
            block.record.published[w].store(0, relaxed);
            expect(invariant::new_free_map, block, block.free_map[w].load(relaxed), block.initial_word(w));
            expect(invariant::new_remote_map, block, block.remote_map[w].load(relaxed), 0);
        }
        block.record.listed = block.record.inherited = false;
    }
    /// Block `index` goes to the user.
    template <class B>
    static void handed_out(B& block, unsigned index) {
        const unsigned w = index / 64;
        const std::uint64_t bit = std::uint64_t{1} << (index % 64);
        if (index >= block.blocks) report::corruption(invariant::handed_out_in_range, &block, index, block.blocks);
        if (block.is_reserved(index)) report::corruption(invariant::handed_out_not_reserved, &block, index, block.reserved_first);
        expect(invariant::handed_out_not_free, block, block.free_map[w].load(relaxed) & bit, 0);
        expect(invariant::handed_out_not_remote, block, (block.remote_map[w].load(relaxed) | block.record.published[w].load(relaxed)) & bit,
               0);
        expect(invariant::one_user, block, block.record.live[w].fetch_or(bit, relaxed) & bit, 0);
    }
    /// A bin takes from word `w` of `block` from now on.
    template <class B>
    static void aimed(BinRecord& bin, B& block, unsigned w) {
        bin = {&block, w * 64, block.base};
    }
    /// The block of bit `bit` of a bin's word goes to the user.
    template <class B>
    static void handed_out_from(BinRecord& bin, unsigned bit) {
        B& block = *static_cast<B*>(bin.block);
        if (bin.base != block.base)
            report::corruption(invariant::handed_out_here, &block, reinterpret_cast<std::uintptr_t>(bin.base),
                               reinterpret_cast<std::uintptr_t>(block.base));
        handed_out(block, bin.first + bit);
    }
    /// Block `index` comes back from any thread; false when nobody held it.
    template <class B>
    static bool returned(B& block, unsigned index) {
        const std::uint64_t bit = std::uint64_t{1} << (index % 64);
        // acq_rel: of two frees in different threads the second sees the first, at once.
        return (block.record.live[index / 64].fetch_and(~bit, acq_rel) & bit) != 0;
    }
    /// `mask` is about to be set in word `w` of the remote map: the user must hold none of these blocks any more, and the slot cannot go
    /// back while they are out.
    template <class B>
    static void remote_published(B& block, unsigned w, std::uint64_t mask) {
        expect(invariant::published_is_nobodys, block, block.record.live[w].load(relaxed) & mask, 0);
        expect(invariant::published_in_range, block, mask & ~block.block_mask(w), 0);
        if (const Owner owner = block.owner(relaxed); !owner.is_block_allocator())
            report::corruption(invariant::published_in_use, &block, owner.word(), block.record.owner.load(relaxed));
        block.record.publisher[w].store(thread::self(), relaxed);
        // relaxed: the bit in the remote map follows with seq_cst, and who drains that one sees this.
        expect(invariant::published_once, block, block.record.published[w].fetch_or(mask, relaxed) & mask, 0);
    }
    /// `taken` left word `w` of the remote map and is about to enter the free map.
    template <class B>
    static void taken_over(B& block, unsigned w, std::uint64_t taken) {
        const std::uint64_t published = block.record.published[w].fetch_and(~taken, relaxed);
        expect(invariant::drained_published, block, taken & ~published, 0);
        expect(invariant::drained_is_nobodys, block, block.record.live[w].load(relaxed) & taken, 0);
        if (const Owner owner = block.owner(relaxed); !owner.is_block_allocator())
            report::corruption(invariant::drained_in_use, &block, owner.word(), block.record.owner.load(relaxed));
    }
    /// `mask` is about to be cleared in word `w` of the remote map: a reported double free.
    template <class B>
    static void withdrawn(B& block, unsigned w, std::uint64_t mask) {
        block.record.published[w].fetch_and(~mask, relaxed);
    }
    /// The remote map was taken over into the free map.
    template <class B>
    static void drained(B& block) {
        check_maps(block);
    }
    template <class B>
    static void owner_changed(B& block, std::uintptr_t from, std::uintptr_t to) {
        if (!legal_transition(Owner(from).state(), Owner(to).state())) report::corruption(invariant::legal_transition, &block, to, from);
    }
    /// The owner word is `word` from now on.
    template <class B>
    static void owner_is(B& block, std::uintptr_t word) {
        block.record.owner.store(word, relaxed);
    }
    /// The block allocator enters or leaves a list.
    template <class B>
    static void listed(B& block, bool enters) {
        if (block.record.listed == enters) report::corruption(invariant::one_list, &block, block.record.listed, !enters);
        block.record.listed = enters;
    }
    /// The slot goes back: every block must be free.
    template <class B>
    static void given_back(B& block) {
        for (unsigned w = 0; w < B::words; ++w) {
            expect(invariant::given_back_free, block, block.free_map[w].load(relaxed), block.initial_word(w));
            expect(invariant::given_back_nobodys, block, block.record.live[w].load(relaxed), 0);
            const std::uint64_t left = block.remote_map[w].load(relaxed) | block.record.published[w].load(relaxed);
            expect(invariant::given_back_reclaimed, block, left, 0);
        }
        if (block.record.listed) report::corruption(invariant::one_list, &block, block.record.listed, false);
    }
    /// In fork's child a record may be older than the maps, which other threads changed while the kernel copied pages: the maps are right.
    template <class B>
    static void after_fork(B& block) {
        for (unsigned w = 0; w < B::words; ++w) {
            const std::uint64_t free = (block.free_map[w].load(relaxed) & block.block_mask(w)) | block.remote_map[w].load(relaxed);
            block.record.live[w].fetch_and(~free, relaxed);
            block.record.published[w].store(block.remote_map[w].load(relaxed), relaxed);
        }
        block.record.owner.store(block.owner_word.load(relaxed), relaxed);
        block.record.inherited = true;
    }
    /// The calling thread ends: what waits in its name is everybody's.
    static void thread_ends() {
        quarantine::publish();
        verify_threads::ends();
    }
    /// Everything that must hold between the maps of one block allocator when its owner looks.
    template <class B>
    static void check_maps(B& block) {
        for (unsigned w = 0; w < B::words; ++w) {
            const std::uint64_t free = block.free_map[w].load(relaxed), mask = block.initial_word(w);
            expect(invariant::free_remote_disjoint, block, free & block.remote_map[w].load(relaxed), 0);
            expect(invariant::reserved_bits, block, free & ~block.block_mask(w), mask & ~block.block_mask(w));
            expect(invariant::free_not_held, block, free & block.block_mask(w) & block.record.live[w].load(relaxed), 0);
        }
    }

  private:
    template <class B>
    static void expect(const char* invariant, B& block, std::uint64_t found, std::uint64_t expected) {
        if (found != expected) report::corruption(invariant, &block, found, expected);
    }
};

}  // namespace mpmm
