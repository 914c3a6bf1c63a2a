// SPDX-License-Identifier: Apache-2.0
// A thread cache: a bin per size class, the block allocators that wait behind it, and the buffer of frees that belong to others.
//
// Only its thread touches it, but for two words: `recovered`, the stack on which other threads put this cache's full block allocators once
// enough of their blocks came back, and `alive`. Caches are type-stable: pooled at thread end and given to a later thread, which inherits
// the full block allocators that still carry the cache's address, and everything that will ever be pushed on `recovered`.
#pragma once

#include "tcache/bin.hpp"
#include "tcache/combining_buffer.hpp"
#include "tcache/shared.hpp"

namespace mpmm {

template <class C>
class alignas(64) ThreadCache {
    friend Inspector<C>;
    using G = typename C::Geometry;
    using Classes = SizeClasses<G>;
    using V = typename C::Verify;
    static constexpr std::size_t direct_steps = Classes::direct_max / 8 + 1;

  public:
    using Block = BlockAllocator<C>;

    /// The cache of threads that have none: every bin is empty and nothing belongs to it.
    static constexpr ThreadCache* empty() { return &empty_; }
    bool is_empty_cache() const { return this == &empty_; }

    constexpr explicit ThreadCache(Shared<C>* shared) : ThreadCache(shared, std::make_index_sequence<direct_steps>{}) {}

    // ---- fast paths ----

    /// The bin for sizes up to Classes::direct_max.
    [[gnu::always_inline]] Bin<C>& direct_bin(std::size_t size) { return *direct_[(size + 7) / 8]; }
    Bin<C>& bin(unsigned index) { return bins_[index]; }

    enum class Freed { done, word_full, woken, overflow, not_here };

    /// Frees a block of `tenant` if that is in `State` and this cache's, and nothing is unusual; otherwise not_here, with nothing changed.
    /// After word_full or woken the caller calls word_became_full() or wake_own(): a tail call there keeps this path free of a stack frame.
    template <bool Intrusive, OwnerState State>
    [[gnu::always_inline]] Freed free_own(const void* address, Tenant* tenant) {
        auto& block = *static_cast<Block*>(tenant);
        // The bitmap's line is needed as soon as the first line told which word: fetch both at once.
        prefetch_to_write(&block.free_map);
        // relaxed: a word equal to this cache was written by this thread, or before the cache was handed to it.
        if (tenant->owner_word.load(relaxed) != (reinterpret_cast<std::uintptr_t>(this) | static_cast<std::uintptr_t>(State))) [[unlikely]]
            return Freed::not_here;
        const auto offset = static_cast<std::size_t>(static_cast<const std::byte*>(address) - block.base);
        const auto [index, exact] = block.reciprocal.divide(offset);
        if (!exact) [[unlikely]]
            return Freed::not_here;
        // Active block allocators have whole words of blocks; in others the bits past the last block are as clear as those of used blocks.
        if (State != OwnerState::active && index >= block.blocks) [[unlikely]]
            return Freed::not_here;
        if (Intrusive && index - block.reserved_first < block.reserved_count) [[unlikely]]
            return Freed::not_here;
        BitmapWord& word = block.free_map[index / 64];
        auto bits = part_of(word, index).load(relaxed);
        if (test_and_set(bits, index)) [[unlikely]]
            return Freed::not_here;
        if constexpr (V::enabled)
            if (!V::returned(block, static_cast<unsigned>(index))) return Freed::not_here;
        // release: what seems full here may have been queued meanwhile, and be purged by another thread, see unused_units(). Active ones are
        // looked at by nobody else before their owner gives them up, under a lock.
        part_of(word, index).store(bits, State == OwnerState::full ? release : relaxed);
        if constexpr (State == OwnerState::full) return block.count_returned() ? Freed::woken : Freed::done;
        if (is_full(word, bits)) [[unlikely]]
            return Freed::word_full;
        return Freed::done;
    }
    /// The next block of the bin's current block allocator when the word is used up and another has some; false when the slow path is needed.
    bool go_on(unsigned index, void*& taken) {
        Bin<C>& bin = bins_[index];
        Block* const block = bin.current;
        if (block == nullptr || block->checked() || combining_.stock(index, stock_worth) != nullptr) return false;
        const unsigned w = block->lowest_free_word();
        if (w == Block::words) return false;
        bin.aim(block, w);
        return bin.take(taken, latest);
    }
    /// Frees blocks from the first on as long as they lie in one word of an active `tenant` of this cache and nothing is unusual: how many. Each
    /// costs a few instructions, having the chunk map, the owner and the word in common. `full`: word_became_full() is to be called.
    std::size_t free_some(Tenant* tenant, void* const* blocks, std::size_t count, bool& full) {
        auto& block = *static_cast<Block*>(tenant);
        // relaxed: as in free_own(). Verify wants to hear of every free.
        if (V::enabled ||
            tenant->owner_word.load(relaxed) != (reinterpret_cast<std::uintptr_t>(this) | static_cast<std::uintptr_t>(OwnerState::active)))
            return 0;
        const std::byte* const base = block.base;
        const Reciprocal reciprocal = block.reciprocal;
        const auto find = [&](const void* address) {
            return reciprocal.divide(static_cast<std::size_t>(static_cast<const std::byte*>(address) - base));
        };
        auto place = find(blocks[0]);
        if (!place.exact) return 0;
        // The chunk map has led here by this address: so it lies in the slot, and active block allocators have whole words of blocks.
        BitmapWord& word = block.free_map[place.quotient / 64];
        const std::size_t first = place.quotient - place.quotient % 64;
        std::uint64_t bits = word.load(relaxed);
        std::size_t done = 0;
        while (place.exact && place.quotient - first < 64 && !test_and_set(bits, place.quotient)) {
            if (++done == count) break;
            place = find(blocks[done]);
        }
        word.store(bits, relaxed);
        full = bits == all_ones && done != 0;
        return done;
    }
    /// Frees the block handed out last: done or word_full; not_here when `address` is another one.
    ///
    /// Between its take() and this call the word's block allocator stays the bin's: only a slow path changes that, and it forgets the
    /// latest block.
    [[gnu::always_inline]] Freed free_latest(const void* address) {
        // Verify wants to hear of every free.
        if (V::enabled || address != latest.block) return Freed::not_here;
        auto bits = part_of(*latest.word, latest.bit).load(relaxed);
        if (test_and_set(bits, latest.bit)) [[unlikely]]
            return Freed::not_here;
        part_of(*latest.word, latest.bit).store(bits, relaxed);
        latest.forget();
        return is_full(*latest.word, bits) ? Freed::word_full : Freed::done;
    }
    /// Frees a block of a detached block allocator that another cache owns, or nobody, into the combining buffer: done or overflow, which asks
    /// for relieve(). not_here for everything else and when anything is unusual; verify wants to hear of every free.
    [[gnu::always_inline]] Freed free_foreign(const void* address, Tenant* tenant) {
        const Owner owner = tenant->owner(relaxed);
        // A cache without a thread behind it has an empty buffer, which no block fits.
        if (V::enabled || owner.belongs_to(this) || !owner.is_block_allocator()) return Freed::not_here;
        auto& block = *static_cast<Block*>(tenant);
        const auto [index, exact] = block.reciprocal.divide(static_cast<std::size_t>(static_cast<const std::byte*>(address) - block.base));
        if (!exact || index >= block.blocks || block.size > CombiningBuffer<C>::max_block) [[unlikely]]
            return Freed::not_here;
        // Free already, by the owner. For a block that the caller rightly frees the bit is clear and stays so.
        if (auto bits = part_of(block.free_map[index / 64], index).load(relaxed); (bits >> index % (8 * sizeof bits) & 1) != 0) [[unlikely]]
            return Freed::not_here;
        const auto added = combining_.add(block, index);
        if (added == CombiningBuffer<C>::Added::yes) [[likely]]
            return Freed::done;
        return added == CombiningBuffer<C>::Added::full ? Freed::overflow : Freed::not_here;
    }
    /// More waits in the combining buffer than may.
    void relieve() {
        if (combining_.recount()) flush();
    }
    /// A full block allocator of this cache has enough blocks back.
    void wake_own(Block& block);
    /// 64 neighbouring blocks became free: the only moment at which the fast path asks whether all are.
    void word_became_full(Block* block);
    Latest latest;

    // ---- slow paths: thread_cache.inl ----

    /// A block of the class when the bin's word is empty; nullptr when out of memory. `may_grow` false: only from what the cache has.
    void* allocate_slow(unsigned index, bool may_grow = true);
    /// Frees a block of an existing block allocator, whoever owns it; reports wild and double frees.
    void free_slow(Block& block, const void* address);
    /// Publishes all combined frees and takes back what others freed.
    void flush();
    /// Returns unused pages of this cache's block allocators: those idle since the last pass, or all when `now`. Bytes purged.
    std::size_t purge(bool now);
    /// Whether the last allocate_slow() gave a block whose pages were not in memory.
    bool last_was_clean() const { return last_was_clean_; }
    /// Gives everything up: waiting block allocators become orphans, full ones will when they wake.
    void retire_cache();
    /// A thread takes the cache over. Under the lock: what rescue() began for the last one is finished first.
    void revive() {
        const Guard guard(recover_lock);
        alive.store(true, seq_cst);
    }
    /// Returns unused pages of the block allocators on the recovered list, for a thread that does not come by. Any thread. Bytes purged.
    std::size_t purge_recovered(bool now);
    /// Puts what other threads recovered for a cache without a thread among the orphans. Any thread.
    void rescue();
    /// In fork's child, for every cache. The kernel copied the pages one by one while other threads ran, so what they were changing without a
    /// lock may be half new and half old: the list that they push on, and everything that a thread which is not here had in its cache. It is
    /// left alone from now on; what wakes later is rescued.
    void after_fork(bool has_thread) {
        recovered.store(nullptr, relaxed);
        V::cache_after_fork(record, !has_thread && alive.load(relaxed));
        if (!has_thread) alive.store(false, relaxed);
    }

    /// Counts an allocation; true when it is time to look at the clock. Without this a program that only reuses warm blocks would never
    /// come by a slow path, and never give memory back.
    [[gnu::always_inline]] bool beat() { return --beats_ < 0; }
    bool beat(std::size_t count) { return (beats_ -= static_cast<int>(count)) < 0; }
    /// A slow path counts for many fast ones.
    bool beat_slow() { return (beats_ -= 32) < 0; }
    /// Sets the beats to the next look: more while they are quick, fewer in a program that allocates little.
    void rearm(std::uint64_t now) {
        const std::uint64_t took = now - last_look_;
        last_look_ = now;
        if (took < 2 && interval_ < max_interval) interval_ *= 2;
        else if (took > 16 && interval_ > 1) interval_ /= took > 128 ? interval_ : 2;
        beats_ = interval_;
    }

    Atomic<bool> alive{false};
    Atomic<Block*> recovered{nullptr};
    Mutex recover_lock;                ///< held to take from `recovered`, and to walk it; not to push
    ThreadCache* next_free = nullptr;  ///< in the registry's pool
    ThreadCache* next_all = nullptr;   ///< in the registry's list of all
    std::uint64_t last_purge = 0;      ///< when purge() was called by maintenance, in milliseconds

  private:
    static constexpr int max_interval = 4096;
    /// Blocks in one entry of the combining buffer for which it pays to turn to it first; for fewer it is the slow path once a block.
    static constexpr unsigned stock_worth = 4;

    template <std::size_t... I>
    constexpr ThreadCache(Shared<C>* shared, std::index_sequence<I...>) : direct_{&bins_[Classes::of(I * 8)]...}, shared_(shared) {}

    void* take_from(Block* block, unsigned index);
    void* take_checked(Block* block);
    void* borrow(unsigned index);
    void* hand_out(Block& block, unsigned index);
    bool retire(Block* block);
    Block* take_recovered();
    void collect_recovered();
    void activate(Block* block);
    void* take_stock(unsigned index, unsigned least);
    void free_remote(Block& block, unsigned index);
    void release_if_empty(Block& block);
    void publish_entry(typename CombiningBuffer<C>::Entry& entry, unsigned class_index);
    static void publish(Block& block, unsigned w, std::uint64_t mask);
    static void wake(Block& block, Owner owner, unsigned all);
    void publish_all() {
        combining_.flush([this](auto& entry, unsigned class_index) { publish_entry(entry, class_index); });
    }

    Bin<C>* direct_[direct_steps];
    int beats_ = 64;
    int interval_ = 64;
    std::uint64_t last_look_ = 0;
    bool last_was_clean_ = false;
    Shared<C>* shared_ = nullptr;
    Bin<C> bins_[Classes::count]{};
    BlockList<C> waiting_[Classes::count]{};
    CombiningBuffer<C> combining_;

  public:
    /// Held by the thread in every slow path of its cache; the empty cache's in what is done for no cache.
    MPMM_NO_UNIQUE_ADDRESS typename V::CacheRecord record;

  private:
    static ThreadCache empty_;
};

template <class C>
constinit ThreadCache<C> ThreadCache<C>::empty_{nullptr};

}  // namespace mpmm

#include "tcache/thread_cache.inl"
