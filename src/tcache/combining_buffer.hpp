// SPDX-License-Identifier: Apache-2.0
// Frees of other threads' blocks, gathered per bitmap word before they go to the remote map: one atomic OR frees up to 64 blocks.
//
//     per size class, a few entries:  | block allocator + word number | mask of the blocks freed here |
//
// What is gathered is also a stock: a bin may take blocks straight from an entry's mask. The block allocator's owner knows nothing of it; to
// him the blocks are in use all the time, as they are when threads hand blocks around.
//
// An entry is chosen by the word; a collision publishes what was there. What is withheld is bounded by bytes, and everything is published
// at the thread's next purge pass, at its exit and on request. Used by one thread.
#pragma once

#include "block/block_allocator.hpp"
#include "verify/policy.hpp"

namespace mpmm {

template <class C>
class CombiningBuffer {
    friend Inspector<C>;
    using Block = BlockAllocator<C>;

  public:
    /// Larger blocks are published at once.
    static constexpr std::size_t max_block = 4096;
    /// Bytes of freed blocks that may wait here.
    static constexpr std::size_t max_bytes = 256 * 1024;

    struct Entry {
        std::uintptr_t key = 0;           ///< block allocator's address + word number, which its alignment leaves room for
        const std::byte* base = nullptr;  ///< the block allocator's, when the entry became its: a record gets new lives elsewhere
        BitmapWord mask{0};

        Block& block() const { return *reinterpret_cast<Block*>(key & ~key_words); }
        unsigned word() const { return static_cast<unsigned>(key & key_words); }
        /// The block allocator is not what it was: its slot went back, so all blocks that wait here were freed by others as well.
        bool is_stale(unsigned class_index) const {
            return block().owner().state() == OwnerState::unused || block().base != base || block().class_index != class_index;
        }
    };

    enum class Added { yes, full, other_word, twice };

    /// Adds block `index` of `block`. other_word: the entry belongs to another word, evict() it first. twice: the block is here already, a
    /// double free. full: it is added, and there is more than may wait.
    [[gnu::always_inline]] Added add(Block& block, std::size_t index) {
        const std::uintptr_t key = reinterpret_cast<std::uintptr_t>(&block) + index / 64;
        Entry& entry = *opaque(&entry_of(block.class_index, key));
        if (entry.key != key || entry.base != block.base) [[unlikely]]
            return Added::other_word;
        auto& part = part_of(entry.mask, index);
        auto mask = part.load(relaxed);
        if (test_and_set(mask, index)) [[unlikely]]
            return Added::twice;
        part.store(mask, relaxed);
        return (bytes_ += block.size) < max_bytes ? Added::yes : Added::full;
    }
    /// Makes the entry for `index` of `block` that word's: calls publish(entry, class index) for what it holds.
    template <class Publish>
    void claim(Block& block, unsigned index, Publish publish) {
        const std::uintptr_t key = reinterpret_cast<std::uintptr_t>(&block) + index / 64;
        Entry& entry = entry_of(block.class_index, key);
        if (entry.key != 0) publish(entry, block.class_index);
        entry.key = key;
        entry.base = block.base;
        entry.mask.store(0, relaxed);
        used_ = true;
    }
    /// Bins take from masks without counting: sums up what really waits. True when that is too much.
    bool recount() {
        bytes_ = 0;
        for_each([&](Entry& entry, unsigned class_index) {
            bytes_ += count_ones(entry.mask.load(relaxed)) * SizeClasses<typename C::Geometry>::size_of(class_index);
        });
        return bytes_ >= max_bytes / 2;
    }
    /// An entry with at least `least` blocks of the class, or nullptr.
    Entry* stock(unsigned class_index, unsigned least) {
        if (bytes_ == 0 || class_index >= classes || class_index < first_stock) return nullptr;
        for (Entry& entry : table_[class_index]) {
            std::uint64_t mask = entry.mask.load(relaxed);
            for (unsigned i = 1; i < least; ++i) mask &= mask - 1;
            if (mask != 0) return &entry;
        }
        return nullptr;
    }
    /// Calls publish(entry, class index) for every entry, and empties it.
    template <class Publish>
    void flush(Publish publish) {
        if (!used_) return;
        for_each([&](Entry& entry, unsigned class_index) {
            publish(entry, class_index);
            entry.key = 0;
            entry.mask.store(0, relaxed);
        });
        bytes_ = 0;
        used_ = false;
    }

  private:
    static constexpr std::size_t ways = 4;
    static constexpr unsigned classes = SizeClasses<typename C::Geometry>::of(max_block) + 1;
    /// Smaller ones share cache lines with blocks that other threads use: who frees one and gets it back would write there again and again.
    static constexpr unsigned first_stock = SizeClasses<typename C::Geometry>::of(C::Geometry::line);
    static constexpr std::uintptr_t key_words = C::Geometry::map_words - 1;
    static_assert(C::Geometry::map_words <= alignof(Block));

    /// Neighbouring words of a block allocator never collide.
    Entry& entry_of(unsigned class_index, std::uintptr_t key) { return table_[class_index][(key ^ key / sizeof(Block)) % ways]; }
    template <class Visit>
    void for_each(Visit visit) {
        for (unsigned class_index = 0; class_index < classes; ++class_index)
            for (Entry& entry : table_[class_index])
                if (entry.key != 0) visit(entry, class_index);
    }

    Entry table_[classes][ways]{};
    std::size_t bytes_ = 0;  // at least what waits
    bool used_ = false;
};

}  // namespace mpmm
