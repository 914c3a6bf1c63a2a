// SPDX-License-Identifier: Apache-2.0
// Frees of other threads' blocks, gathered per bitmap word before they go to the remote map: one atomic OR frees up to 64 blocks.
//
// Direct-mapped by the word; a collision publishes what was there. What it withholds is bounded by bytes, and everything is published
// when the owner's slow path comes by after the flush time, at thread exit and on request. Used by one thread.
#pragma once

#include "block/block_allocator.hpp"

namespace mpmm {

template <class C>
class CombiningBuffer {
    using Block = BlockAllocator<C>;

  public:
    static constexpr std::size_t entries = 32;
    /// Bytes of freed blocks that may wait here.
    static constexpr std::size_t max_bytes = 64 * 1024;
    /// Larger blocks are published at once.
    static constexpr std::size_t max_block = 4096;

    /// Adds the block. Calls publish(block allocator, word, mask) for what has to go to the remote map now. False when the block is here
    /// already: a double free.
    template <class Publish>
    bool add(Block& block, unsigned index, Publish publish) {
        const unsigned w = index / 64;
        const std::uintptr_t key = reinterpret_cast<std::uintptr_t>(&block) + w;
        const std::uint64_t bit = std::uint64_t{1} << (index % 64);
        Entry& entry = table_[(key * 0x9E3779B97F4A7C15u >> 32) % entries];
        if (entry.key != key) {
            if (entry.key != 0) empty(entry, publish);
            entry.key = key;
        }
        if ((entry.mask & bit) != 0) return false;
        entry.mask |= bit;
        bytes_ += block.size;
        if (entry.mask == all_ones) empty(entry, publish);
        else if (bytes_ >= max_bytes) flush(publish);
        return true;
    }
    template <class Publish>
    void flush(Publish publish) {
        if (bytes_ == 0) return;
        for (Entry& entry : table_)
            if (entry.key != 0) empty(entry, publish);
    }
    bool is_empty() const { return bytes_ == 0; }

  private:
    struct Entry {
        std::uintptr_t key = 0;  ///< block allocator's address + word number, which its alignment leaves room for
        std::uint64_t mask = 0;
    };
    static_assert(C::Geometry::map_words <= alignof(Block));

    template <class Publish>
    void empty(Entry& entry, Publish publish) {
        constexpr std::uintptr_t low = alignof(Block) - 1;
        auto& block = *reinterpret_cast<Block*>(entry.key & ~low);
        const std::uint64_t mask = entry.mask;
        const auto w = static_cast<unsigned>(entry.key & low);
        entry = Entry{};
        bytes_ -= std::size_t{block.size} * static_cast<unsigned>(std::popcount(mask));
        publish(block, w, mask);
    }

    Entry table_[entries]{};
    std::size_t bytes_ = 0;
};

}  // namespace mpmm
