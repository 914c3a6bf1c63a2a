// SPDX-License-Identifier: Apache-2.0
// A bin: where a thread takes its next block of one size class from.
//
//     word ──► one 64-bit word of the current block allocator's free map, or of the combining buffer
//     base ──► the block of that word's bit 0
//
// There is no copy of the word, so there is one truth to check, and blocks the owner frees are free at once. A bin without either points at
// a word that is always zero.
#pragma once

#include "block/block_allocator.hpp"

namespace mpmm {

struct ZeroWord {
    static inline constinit BitmapWord word{0};
};

/// The block handed out last, and where its bit is: most blocks that die young die before the next one is born. Freeing that one needs
/// neither the chunk map nor the block allocator, and, as the processor predicts the comparison, not even the address.
struct Latest {
    const void* block = none();
    BitmapWord* word = nullptr;
    std::size_t bit = 0;

    /// No block has this address, and it is not the null pointer that free() takes.
    static constexpr const void* none() { return &ZeroWord::word; }
    void forget() { block = none(); }
};

template <class C>
struct Bin {
    BitmapWord* word = &ZeroWord::word;
    std::byte* base = nullptr;
    std::size_t size = 0;
    BlockAllocator<C>* current = nullptr;
    MPMM_NO_UNIQUE_ADDRESS typename C::Verify::BinRecord record;

    /// Takes the lowest free block of the word; false when it has none.
    [[gnu::always_inline]] bool take(void*& block, Latest& latest) {
        BitmapWord* const from = word;
        std::size_t bit = 0;
        if (!take_lowest(*from, bit)) [[unlikely]]
            return false;
        if constexpr (C::Verify::enabled) C::Verify::template handed_out_from<BlockAllocator<C>>(record, static_cast<unsigned>(bit));
        block = base + bit * size;
        latest.word = from;
        latest.bit = bit;
        latest.block = block;
        return true;
    }
    /// Takes up to `count` free blocks of the word, the lowest first: how many. Verify wants to hear of each, and gets none.
    std::size_t take_some(void** blocks, std::size_t count) {
        std::uint64_t bits = C::Verify::enabled ? 0 : word->load(relaxed);
        std::size_t taken = 0;
        for (; bits != 0 && taken != count; bits &= bits - 1) blocks[taken++] = base + lowest_bit(bits) * size;
        // The word that is always zero is everybody's.
        if (taken != 0) word->store(bits, relaxed);
        return taken;
    }
    /// Takes from word `w` of the owned `block` from now on.
    void aim(BlockAllocator<C>* block, unsigned w) {
        block->touch_word(w);
        // Before it is handed out again: free here, and freed by another thread as well. relaxed: nothing is taken over.
        if (const std::uint64_t remote = block->remote_map[w].load(relaxed); remote != 0) [[unlikely]]
            if (const std::uint64_t twice = block->report_twice(w, remote & block->free_word(w)); twice != 0) {
                C::Verify::withdrawn(*block, w, twice);
                block->remote_map[w].fetch_and(~twice, relaxed);
            }
        current = block;
        aim(*block, w, block->free_map[w]);
    }
    /// Takes the blocks of word `w` of `block` that `from` has, whoever owns them.
    void aim(BlockAllocator<C>& block, unsigned w, BitmapWord& from) {
        word = &from;
        base = block.address(w * 64);
        size = block.size;
        C::Verify::aimed(record, block, w);
    }
    /// Sends the next take() to the slow path, keeping the block allocator.
    void detour() { word = &ZeroWord::word; }
};

/// Block allocators of one class that wait to become current; first in, first out, so that each collects frees as long as possible.
template <class C>
struct BlockList {
    BlockAllocator<C>* head = nullptr;
    BlockAllocator<C>* tail = nullptr;

    void push_back(BlockAllocator<C>* block) {
        C::Verify::listed(*block, true);
        block->previous = tail;
        block->next = nullptr;
        (tail != nullptr ? tail->next : head) = block;
        tail = block;
    }
    void remove(BlockAllocator<C>* block) {
        C::Verify::listed(*block, false);
        (block->previous != nullptr ? block->previous->next : head) = block->next;
        (block->next != nullptr ? block->next->previous : tail) = block->previous;
        block->previous = block->next = nullptr;
    }
    BlockAllocator<C>* pop_front() {
        BlockAllocator<C>* const block = head;
        if (block != nullptr) remove(block);
        return block;
    }
};

}  // namespace mpmm
