// SPDX-License-Identifier: Apache-2.0
// Which blocks can the program still reach? Marks what the roots point at, then what those blocks point at, and so on; what stays unmarked
// is leaked. Leaks are direct or indirect: indirect ones hang on other leaks and vanish when those are fixed. Of a ring of leaks that hang
// on each other and on nothing else, one is direct.
//
//   roots ──▶ ▢ ──▶ ▢         reachable
//             ▣ ──▶ ▢ ──▶ ▢   direct, indirect, indirect
//             ▣ ◀─▶ ▢         a ring: one of them direct
//
// No recursion: the blocks to look at wait on a stack. When that cannot grow, marked blocks are looked at again until nothing is new.
// Runs in the callback of stop_world::run(), or in a test.
#pragma once

#include "platform/reader.hpp"
#include "verify/work_stack.hpp"

#include <cstddef>
#include <cstdint>

namespace mpmm {

/// What is known of a block; the finder keeps one for each, at first `unseen`.
enum class Reach : std::uint8_t {
    unseen,
    reachable,
    candidate,  ///< during classify() only
    indirect,
    direct,
};

/// Finder:
///   struct Block { std::uintptr_t begin, end; /* and what the finder wants, e.g. a handle */ };   trivially copyable
///   bool find(std::uintptr_t word, Block& out)        the block the user holds with begin <= word < end, if there is one
///   Reach reach(const Block&)
///   void set_reach(const Block&, Reach)
///   template <class F> void each_block(F&& f)         f(const Block&) for all blocks the user holds, in any order that stays the same
template <class Finder>
class Reachability {
  public:
    using Block = typename Finder::Block;

    struct Options {
        /// Other threads run: blocks may be unmapped while they are looked at.
        bool others_run = false;
        /// Blocks lie in private anonymous memory, so pages that are not present need not be looked at.
        bool absent_is_zero = false;
    };

    Reachability(Finder& finder, Options options) : finder_(finder), options_(options) {}

    /// Whether large blocks can be read; false is out of memory, and then nothing may be called.
    bool ready() const { return reader_.ready(); }

    /// Marks all that these words lead to. A roots::Visit with the Reachability as its context.
    static void add_roots(void* self, const std::uintptr_t* begin, const std::uintptr_t* end) {
        auto& marking = *static_cast<Reachability*>(self);
        marking.flood_ = Reach::reachable;
        marking.look_at(begin, end);
        marking.drain();
    }
    /// Marks a block that must not count as a leak, and what it leads to.
    void add_block(const Block& block) {
        flood_ = Reach::reachable;
        if (finder_.reach(block) != Reach::unseen) return;
        meet(block);
        drain();
    }

    /// After all roots: marks the rest as direct or indirect.
    ///
    /// First pass: every leak that no earlier one led to is a candidate, and what it leads to is indirect. After each candidate, everything
    /// that any of them leads to is marked; so an earlier candidate never leads to a later one, but a later one may lead to an earlier.
    /// Second pass, from the last candidate to the first: one that nothing led to until now is direct, because only later ones could. Each
    /// ring has one candidate only, as the first to be looked at leads to the others.
    void classify() {
        candidates_.clear();
        bool all_kept = true;
        flood_ = Reach::indirect;
        finder_.each_block([&](const Block& block) {
            if (finder_.reach(block) != Reach::unseen) return;
            finder_.set_reach(block, Reach::candidate);
            all_kept &= candidates_.push(block);
            follow(block);
        });
        if (!all_kept) {
            // No memory to remember the order: too many direct ones, but each leak hangs on one.
            finder_.each_block([&](const Block& block) {
                if (finder_.reach(block) == Reach::candidate) finder_.set_reach(block, Reach::direct);
            });
            return;
        }
        finder_.each_block([&](const Block& block) {
            if (finder_.reach(block) == Reach::indirect) finder_.set_reach(block, Reach::unseen);
        });
        for (std::size_t i = candidates_.size(); i-- > 0;) finder_.set_reach(candidates_[i], Reach::unseen);
        for (std::size_t i = candidates_.size(); i-- > 0;) {
            const Block block = candidates_[i];
            if (finder_.reach(block) != Reach::unseen) continue;
            finder_.set_reach(block, Reach::direct);
            follow(block);
        }
    }

    /// For tests: as if there were no more memory.
    void forbid_growth(bool of_waiting, bool of_candidates) {
        if (of_waiting) waiting_.forbid_growth();
        if (of_candidates) candidates_.forbid_growth();
    }

  private:
    void look_at(const std::uintptr_t* begin, const std::uintptr_t* end) {
        Block block;
        for (const std::uintptr_t* word = begin; word < end; ++word)
            if (finder_.find(*word, block) && finder_.reach(block) == Reach::unseen) meet(block);
    }
    void meet(const Block& block) {
        finder_.set_reach(block, flood_);
        if (!waiting_.push(block)) overflowed_ = true;
    }
    /// Looks into a block.
    void open(const Block& block) {
        constexpr std::uintptr_t word = sizeof(std::uintptr_t);
        // Memory of whole pages may be protected by the user; a system with larger pages than these has larger ones of the allocator, too.
        if (options_.others_run || block.end - block.begin >= 4096) {
            reader_.words(block.begin, block.end, options_.absent_is_zero ? Reader::Absent::is_zero : Reader::Absent::may_hold_data, look,
                          this);
            return;
        }
        look_at(reinterpret_cast<const std::uintptr_t*>((block.begin + word - 1) & ~(word - 1)),
                reinterpret_cast<const std::uintptr_t*>(block.end & ~(word - 1)));
    }
    static void look(void* self, const std::uintptr_t* begin, const std::uintptr_t* end) {
        static_cast<Reachability*>(self)->look_at(begin, end);
    }
    void follow(const Block& block) {
        open(block);
        drain();
    }
    void drain() {
        for (;;) {
            while (!waiting_.empty()) open(waiting_.pop());
            if (!overflowed_) return;
            // Some marked blocks were never opened, and nobody knows which.
            overflowed_ = false;
            finder_.each_block([&](const Block& block) {
                if (finder_.reach(block) != flood_) return;
                open(block);
                while (!waiting_.empty()) open(waiting_.pop());
            });
        }
    }

    Finder& finder_;
    Options options_;
    Reader reader_;
    WorkStack<Block> waiting_, candidates_;
    Reach flood_ = Reach::reachable;
    bool overflowed_ = false;
};

}  // namespace mpmm
