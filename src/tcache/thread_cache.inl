// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace mpmm {

// ---- allocation ----

/// The lowest free block of a block allocator that just became current.
template <class C>
void* ThreadCache<C>::take_from(Block* block, unsigned index) {
    Bin<C>& bin = bins_[index];
    if (block->checked()) {
        bin.current = block;
        return take_checked(block);
    }
    const unsigned w = block->lowest_free_word();
    if (w == Block::words) return nullptr;
    bin.aim(block, w);
    void* taken = nullptr;
    bin.take(taken, latest);
    latest.forget();
    return taken;
}

/// Block allocators of less than a word never feed a bin's word: there are few blocks, they are big, and knowing which of them are clean
/// saves zeroing them.
template <class C>
void* ThreadCache<C>::take_checked(Block* block) {
    const std::uint64_t bits = block->free_word(0), warm = bits & ~block->clean_units;
    last_was_clean_ = false;
    if (bits == 0) return nullptr;
    if (warm == 0) {
        if (void* const taken = borrow(block->class_index); taken != nullptr) return taken;
        // A purge leaves what a block shares of a page with a used neighbour: only blocks of whole pages are known to be zero.
        last_was_clean_ = is_aligned(block->size, os::whole_page<G>());
    }
    const auto index = static_cast<unsigned>(std::countr_zero(warm != 0 ? warm : bits));
    block->lent_units &= ~(std::uint64_t{1} << index);
    return hand_out(*block, index);
}

template <class C>
void* ThreadCache<C>::hand_out(Block& block, unsigned index) {
    const std::uint64_t rest = ~(std::uint64_t{1} << index);
    block.free_map[0].store(block.free_word(0) & rest, relaxed);
    block.clean_units &= rest;
    block.idle_units &= rest;
    V::handed_out(block, index);
    return block.address(index);
}

/// A block of a larger class whose pages are in memory, for one of class `index` that has none such: what was freed there serves here before
/// more memory is touched. The rest of the block stays in memory for as long as it is used, so at most half of a block allocator's blocks are
/// lent at a time, each for more than half of its size, and aligned as one of its own class would be.
template <class C>
void* ThreadCache<C>::borrow(unsigned index) {
    const std::size_t size = Classes::size_of(index), alignment = size & (~size + 1);
    for (unsigned i = index + 1, end = std::min(index + Classes::per_doubling, Classes::count); i < end; ++i) {
        Block* const block = bins_[i].current != nullptr ? bins_[i].current : waiting_[i].head;
        if (block == nullptr || block->size % alignment != 0) continue;
        const std::uint64_t free = block->free_word(0), warm = free & ~block->clean_units;
        block->lent_units &= ~free;
        if (warm == 0 || count_ones(block->lent_units) >= block->blocks / 2u) continue;
        block->lent_units |= warm & (~warm + 1);
        return hand_out(*block, static_cast<unsigned>(std::countr_zero(warm)));
    }
    return nullptr;
}

/// A block that this thread freed for others and has not given back yet: no atomic operation on either way.
template <class C>
void* ThreadCache<C>::take_stock(unsigned index, unsigned least) {
    auto* const entry = combining_.stock(index, least);
    if (entry == nullptr) return nullptr;
    Block& block = entry->block();
    const unsigned w = entry->word();
    // What the owner has free as well was freed twice.
    const std::uint64_t mask = entry->mask.load(relaxed);
    const bool gone = entry->is_stale(index);
    if (gone) publish_entry(*entry, index);
    else block.report_twice(w, mask & block.free_word(w));
    const std::uint64_t rest = gone ? 0 : mask & ~block.free_word(w);
    entry->mask.store(rest, relaxed);
    if (rest == 0) return nullptr;
    Bin<C>& bin = bins_[index];
    bin.aim(block, w, entry->mask);
    void* taken = nullptr;
    bin.take(taken, latest);
    latest.forget();
    return taken;
}

template <class C>
void* ThreadCache<C>::allocate_slow(unsigned index, bool may_grow) {
    last_was_clean_ = false;
    latest.forget();
    Bin<C>& bin = bins_[index];
    for (;;) {
        // First what this thread freed lately: it is in the processor's cache, and does not have to travel back to its owner.
        if (void* const taken = take_stock(index, stock_worth); taken != nullptr) return taken;
        if (Block* const block = bin.current; block != nullptr) {
            if (void* const taken = take_from(block, index); taken != nullptr) return taken;
            if (block->drain()) continue;
            bin.detour();
            bin.current = nullptr;
            block->in_bin = false;
            if (retire(block)) {
                bin.current = block;
                block->in_bin = true;
                continue;
            }
        }
        if (void* const taken = take_stock(index, 1); taken != nullptr) return taken;
        if (waiting_[index].head == nullptr) collect_recovered();
        Block* next = waiting_[index].pop_front();
        if (next == nullptr && (next = shared_->orphans[index].pop()) != nullptr) next->set_owner(Owner(this, next->usable_state()));
        if (next == nullptr) {
            if (!may_grow || (next = shared_->new_block_allocator(index)) == nullptr) return nullptr;
            next->set_owner(Owner(this, next->usable_state()));
        }
        bin.current = next;
        next->in_bin = true;
    }
}

/// Declares a block allocator without free blocks full. True when others freed enough meanwhile: then it is usable again.
///
/// The wake-up handshake. Owner: stores `full` to the owner word, then reads the remote map. Remote: sets a bit in the remote map, then
/// reads the owner word. All four are seq_cst, so in their single order either the owner's read comes after the remote's bit, or the
/// remote's read comes after the owner's `full`: at least one of them sees the other, and a block allocator with enough blocks cannot
/// be left full. When both see it, the compare-exchange on the owner word lets one of them have it.
template <class C>
bool ThreadCache<C>::retire(Block* block) {
    // relaxed: who reads `full` sees it, as that store comes after this one.
    block->returned.store(0, relaxed);
    const Owner full(this, OwnerState::full);
    block->set_owner(full, seq_cst);
    if (!block->worth_waking()) [[likely]]
        return false;
    if (!block->change_owner(full, Owner(this, block->usable_state()))) return false;
    block->drain();
    return true;
}

/// Puts a block allocator that is this cache's and has free blocks behind its bin.
template <class C>
void ThreadCache<C>::activate(Block* block) {
    block->returned.store(0, relaxed);
    block->drain();
    waiting_[block->class_index].push_back(block);
}

template <class C>
auto ThreadCache<C>::take_recovered() -> Block* {
    // relaxed: what is missed now is found next time, or by rescue().
    if (recovered.load(relaxed) == nullptr) return nullptr;
    const Guard guard(recover_lock);
    // acquire pairs with the push in wake().
    return recovered.exchange(nullptr, acquire);
}

/// The block allocators on the list are queued: while the lock keeps them there, nobody takes blocks from them, and their blocks only become
/// free. Purging them is safe though they are another thread's.
template <class C>
std::size_t ThreadCache<C>::purge_recovered(bool now) {
    // relaxed: what is missed now is found at the next pass.
    if (recovered.load(relaxed) == nullptr) return 0;
    const Guard guard(recover_lock);
    std::size_t purged = 0;
    for (Block* block = recovered.load(acquire); block != nullptr; block = block->next_recovered)
        purged += block->purge(shared_->backend, now, true);
    return purged;
}

/// Takes over what other threads pushed. Queued block allocators are nobody else's business, so a plain store makes them active.
template <class C>
void ThreadCache<C>::collect_recovered() {
    for (Block *block = take_recovered(), *next = nullptr; block != nullptr; block = next) {
        next = block->next_recovered;
        block->set_owner(Owner(this, block->usable_state()));
        activate(block);
    }
}

// ---- free ----

template <class C>
void ThreadCache<C>::free_slow(Block& block, const void* address) {
    const auto [index, exact] = block.find(address);
    if (!exact) {
        report::user_error(report::Kind::invalid_free, address);
        return;
    }
    const Owner owner = block.owner();
    if (!owner.belongs_to(this)) {
        free_remote(block, index);
        return;
    }
    switch (owner.state()) {
        case OwnerState::full:
            if (block.put_back(index) && block.count_returned()) wake_own(block);
            return;
        case OwnerState::checked:
            if (block.put_back(index)) release_if_empty(block);
            return;
        default: block.put_back(index); return;
    }
}

template <class C>
void ThreadCache<C>::wake_own(Block& block) {
    // Another thread may have queued it this moment; then it is on its way through the recovered list.
    if (block.change_owner(Owner(this, OwnerState::full), Owner(this, block.usable_state()))) {
        activate(&block);
        release_if_empty(block);
    }
}

template <class C>
void ThreadCache<C>::word_became_full(Block* block) {
    beats_ -= 16;
    if (block != nullptr && !block->in_bin) release_if_empty(*block);
}

template <class C>
void ThreadCache<C>::release_if_empty(Block& block) {
    if (block.in_bin || !block.all_free()) return;
    waiting_[block.class_index].remove(&block);
    shared_->release(block);
}

template <class C>
void ThreadCache<C>::free_remote(Block& block, unsigned index) {
    const std::uint64_t free_by_owner = block.free_word(index / 64) >> (index % 64) & 1;
    if (free_by_owner != 0 || !V::returned(block, index)) {
        report::user_error(report::Kind::double_free, block.address(index));
        return;
    }
    if (is_empty_cache() || block.size > CombiningBuffer<C>::max_block) {
        publish(block, index / 64, std::uint64_t{1} << (index % 64));
        return;
    }
    using Added = typename CombiningBuffer<C>::Added;
    Added added = combining_.add(block, index);
    if (added == Added::other_word) {
        latest.forget();
        combining_.claim(block, index, [this](auto& entry, unsigned class_index) { publish_entry(entry, class_index); });
        added = combining_.add(block, index);
    }
    if (added == Added::twice) report::user_error(report::Kind::double_free, block.address(index));
    if (added == Added::full) relieve();
}

/// Publishes what an entry of the combining buffer holds; a bin that takes from it has to look elsewhere.
template <class C>
void ThreadCache<C>::publish_entry(typename CombiningBuffer<C>::Entry& entry, unsigned class_index) {
    if (Bin<C>& bin = bins_[class_index]; bin.word == &entry.mask) bin.detour();
    const std::uint64_t mask = entry.mask.load(relaxed);
    if (mask == 0) return;
    Block& block = entry.block();
    if (!entry.is_stale(class_index)) [[likely]]
        return publish(block, entry.word(), mask);
    for_each_bit(mask, [&](unsigned bit) {
        report::user_error(report::Kind::double_free, entry.base + (entry.word() * 64 + bit) * Classes::size_of(class_index));
    });
}

template <class C>
void ThreadCache<C>::publish(Block& block, unsigned w, std::uint64_t mask) {
    const unsigned all = block.blocks;
    block.publish(w, mask);
    // The other half of the handshake described at retire().
    const Owner owner = block.owner(seq_cst);
    if (owner.state() == OwnerState::full) wake(block, owner, all);
}

/// Queues a full block allocator for its owner once enough blocks are back.
///
/// A cache whose thread ended does not look at `recovered` any more. Pusher: pushes, then reads `alive`. Ending thread: clears `alive`,
/// then empties `recovered`. All seq_cst: at least one of them sees the other, and whoever takes the list by exchange owns it.
template <class C>
void ThreadCache<C>::wake(Block& block, Owner owner, unsigned all) {
    if (!block.worth_waking(all)) return;
    auto* const cache = owner.template cache<ThreadCache>();
    if (!block.change_owner(owner, Owner(cache, OwnerState::queued))) return;
    // relaxed: the head is only put behind the new one; who takes the list acquires all that were pushed, one after the other.
    Block* head = cache->recovered.load(relaxed);
    do block.next_recovered = head;
    while (!cache->recovered.compare_exchange_weak(head, &block, seq_cst, relaxed));
    if (!cache->alive.load(seq_cst)) cache->rescue();
}

template <class C>
void ThreadCache<C>::rescue() {
    const Guard guard(recover_lock);
    // A thread that got the cache meanwhile collects the list itself, and may be freeing blocks of what is on it.
    if (alive.load(relaxed)) return;
    for (Block *block = recovered.exchange(nullptr, seq_cst), *next = nullptr; block != nullptr; block = next) {
        next = block->next_recovered;
        shared_->abandon(*block);
    }
}

// ---- the cache as a whole ----

template <class C>
void ThreadCache<C>::flush() {
    latest.forget();
    publish_all();
    collect_recovered();
}

template <class C>
std::size_t ThreadCache<C>::purge(bool now) {
    latest.forget();
    publish_all();
    collect_recovered();
    std::size_t purged = 0;
    for (unsigned index = 0; index < Classes::count; ++index) {
        Bin<C>& bin = bins_[index];
        if (Block* const block = bin.current; block != nullptr) {
            block->drain();
            // The next allocation must come by to say that it uses the word again.
            bin.detour();
            // Empty, and at the last pass already as far as its pages tell.
            const bool was_idle = (block->unused_units() & ~block->idle_units) == 0;
            if (block->all_free() && (now || was_idle)) {
                bin = Bin<C>{};
                block->in_bin = false;
                shared_->release(*block);
            } else {
                purged += block->purge(shared_->backend, now);
            }
        }
        for (Block *block = waiting_[index].head, *next = nullptr; block != nullptr; block = next) {
            next = block->next;
            block->drain();
            if (block->all_free()) release_if_empty(*block);
            else purged += block->purge(shared_->backend, now);
        }
    }
    return purged;
}

template <class C>
void ThreadCache<C>::retire_cache() {
    latest.forget();
    publish_all();
    for (unsigned index = 0; index < Classes::count; ++index) {
        if (Block* const block = bins_[index].current; block != nullptr) {
            bins_[index] = Bin<C>{};
            block->in_bin = false;
            shared_->abandon(*block);
        }
        while (Block* const block = waiting_[index].pop_front()) shared_->abandon(*block);
    }
    alive.store(false, seq_cst);
    rescue();
}

}  // namespace mpmm
