// SPDX-License-Identifier: Apache-2.0
// The checks can fail, continued: bins, waiting lists, recovered lists, orphans and the registry of caches.
#include "broken_heap.hpp"

#ifdef MPMM_VERIFY_BUILD  // release does not stop the threads' caches

namespace mpmm::test {
namespace {

class ListInvariants : public BrokenHeap {
  protected:
    static Cache& own() { return *H::own_cache(); }
    static Block* nowhere() { return reinterpret_cast<Block*>(std::uintptr_t{1} << (sizeof(void*) == 8 ? 40 : 29)); }
    static Block* misaligned(Block* block) { return reinterpret_cast<Block*>(reinterpret_cast<std::uintptr_t>(block) + 8); }
    /// As with(), with the owner word that the seams told changed likewise.
    static Names with_owner(Block& of, Owner owner) {
        const std::uintptr_t told = of.record.owner.load();
        of.record.owner.store(owner.word());
        Names names = with(of.owner_word, owner.word());
        of.record.owner.store(told);
        return names;
    }
};

TEST_F(ListInvariants, BinIsBroken) {
    auto& bin = I::bin(own(), index_of_size);
    ASSERT_EQ(bin.current, block);
    EXPECT_EQ(with(bin.current, nowhere()), Names{invariant::list_pointer});
    EXPECT_EQ(with(bin.current, misaligned(block)), Names{invariant::list_pointer});
    EXPECT_EQ(with(bin.base, bin.base + 16), Names{invariant::bin_word});
    EXPECT_EQ(with(bin.word, bin.word + 1), Names{invariant::bin_word});
    EXPECT_EQ(with(bin.word, &block->remote_map[0]), Names{invariant::bin_word});
    EXPECT_EQ(with(block->in_bin, false), Names{invariant::in_bin_flag});
    EXPECT_EQ(with(block->class_index, index_of_size + 1), Names{invariant::list_class});
    EXPECT_EQ(with_owner(*block, Owner(&own(), OwnerState::full)), Names{invariant::bin_owner});
    EXPECT_EQ(with_owner(*block, Owner(OwnerState::orphan)), Names{invariant::bin_owner});
}

TEST_F(ListInvariants, BinLosesItsBlockAllocator) {
    auto& bin = I::bin(own(), index_of_size);
    const auto saved = bin;
    bin.current = nullptr;
    bin.word = &ZeroWord::word;
    EXPECT_EQ(check(), Names{invariant::in_one_place});
    bin = saved;
}

TEST_F(ListInvariants, TwoBinsHaveOneBlockAllocator) {
    auto& other = I::bin(own(), index_of_size + 1);
    EXPECT_EQ(with(other.current, block), Names{invariant::in_one_place});
}

TEST_F(ListInvariants, TableOfSmallSizes) { EXPECT_EQ(with(I::direct(own(), 5), I::direct(own(), 30)), Names{invariant::direct_table}); }

TEST_F(ListInvariants, NothingIsTakenFromNothing) {
    EXPECT_EQ(with(ZeroWord::word, 1), Names{invariant::zero_word});
    EXPECT_EQ(with(I::bin(*Cache::empty(), 3).current, block), Names{invariant::idle_cache});
}

TEST_F(ListInvariants, WaitingListIsBroken) {
    const std::vector<void*> blocks = full_block_allocator(), more = full_block_allocator();
    Block *const first = wake(blocks), *const second = wake(more);
    auto& list = I::waiting(own(), index_of_size);
    ASSERT_EQ(list.head, first);
    ASSERT_EQ(list.tail, second);
    EXPECT_EQ(check(), Names{});
    EXPECT_EQ(with(first->next, nowhere()), Names{invariant::list_pointer});
    EXPECT_EQ(with(second->next, first), Names{invariant::in_one_place}) << "a cycle";
    EXPECT_EQ(with(second->previous, nullptr), Names{invariant::list_links});
    EXPECT_EQ(with(list.tail, first), Names{invariant::list_links});
    EXPECT_EQ(with(list.head, second), Names{invariant::list_links});
    EXPECT_EQ(with_owner(*first, Owner(OwnerState::orphan)), Names{invariant::waiting_owner});
    EXPECT_EQ(with_owner(*first, Owner(&own(), OwnerState::full)), Names{invariant::waiting_owner});
    EXPECT_EQ(with(first->in_bin, true), Names{invariant::in_bin_flag});
    EXPECT_EQ(with(first->record.listed, false), Names{invariant::listed_record});
    // Unlinked, properly but for the block allocator itself.
    list.head = second;
    second->previous = nullptr;
    EXPECT_EQ(check(), Names{invariant::in_one_place});
    list.head = first;
    second->previous = first;
    // In another class's list.
    auto& wrong = I::waiting(own(), index_of_size + 1);
    std::swap(list, wrong);
    EXPECT_EQ(check(), Names{invariant::list_class});
    std::swap(list, wrong);
}

TEST_F(ListInvariants, FullBlockAllocatorIsOnNoList) {
    const std::vector<void*> blocks = full_block_allocator();
    Block* const full = block_of(blocks[0]);
    auto& list = I::waiting(own(), index_of_size);
    ASSERT_EQ(list.head, nullptr);
    list.head = list.tail = full;
    EXPECT_EQ(check(), Names{invariant::waiting_owner});
    list.head = list.tail = nullptr;
    // A full one of a cache, on a list of orphans it left long ago.
    I::set_orphans(index_of_size, full);
    EXPECT_EQ(check(), Names{invariant::orphan_owner});
    I::set_orphans(index_of_size, nullptr);
    // And one that thinks it is full while it is in a bin: see BinIsBroken. One that is neither full nor anywhere:
    EXPECT_EQ(with_owner(*full, Owner(&own(), OwnerState::active)), Names{invariant::in_one_place});
    EXPECT_EQ(with_owner(*full, Owner(&own(), OwnerState::queued)), Names{invariant::in_one_place});
    filling.insert(filling.end(), blocks.begin(), blocks.end());
}

TEST_F(ListInvariants, RecoveredListIsBroken) {
    Other other;
    std::vector<void*> blocks;
    Cache* cache = nullptr;
    other.run([&] {
        blocks = full_block_allocator();
        cache = H::own_cache();
    });
    Block* const queued = block_of(blocks[0]);
    wake(blocks);
    H::flush();
    ASSERT_EQ(queued->owner().state(), OwnerState::queued);
    ASSERT_EQ(cache->recovered.load(), queued);
    EXPECT_EQ(check(), Names{});
    EXPECT_EQ(with(cache->recovered, nullptr), Names{invariant::in_one_place}) << "queued ones reach the list";
    EXPECT_EQ(with(cache->recovered, nowhere()), Names{invariant::list_pointer});
    EXPECT_EQ(with(queued->next_recovered, queued), Names{invariant::in_one_place}) << "a cycle";
    EXPECT_EQ(with_owner(*queued, Owner(&own(), OwnerState::queued)), Names{invariant::recovered_owner});
    EXPECT_EQ(with_owner(*queued, Owner(cache, OwnerState::full)), Names{invariant::recovered_owner});
}

TEST_F(ListInvariants, OrphansAreBroken) {
    void* left = nullptr;
    {
        Other other;
        other.run([&] { left = H::malloc(size); });
    }
    Block* const orphan = block_of(left);
    ASSERT_EQ(orphan->owner().state(), OwnerState::orphan);
    ASSERT_EQ(I::orphans(index_of_size), orphan);
    EXPECT_EQ(check(), Names{});
    EXPECT_EQ(with_owner(*orphan, Owner(&own(), OwnerState::active)), Names{invariant::orphan_owner});
    EXPECT_EQ(with(orphan->next, orphan), Names{invariant::in_one_place}) << "a cycle";
    EXPECT_EQ(with(orphan->next, nowhere()), Names{invariant::list_pointer});
    EXPECT_EQ(with(orphan->class_index, index_of_size + 1), Names{invariant::list_class});
    EXPECT_EQ(with(orphan->record.listed, false), Names{invariant::listed_record});
    I::set_orphans(index_of_size, nullptr);
    EXPECT_EQ(check(), Names{invariant::in_one_place});
    I::set_orphans(index_of_size, orphan);
    H::free(left);
}

TEST_F(ListInvariants, CachesAreCounted) {
    {
        Other().run([] { H::free(H::malloc(size)); });
    }
    EXPECT_EQ(with(I::caches_in_use(), I::caches_in_use() + 1), Names{invariant::caches_counted});
    Cache* const idle = I::idle_caches();
    ASSERT_NE(idle, nullptr);
    EXPECT_EQ(with(I::idle_caches(), idle->next_free), Names{invariant::caches_counted});
    EXPECT_EQ(with(idle->next_free, idle), Names{invariant::caches_counted}) << "a cycle";
    EXPECT_EQ(with(I::bin(*idle, 4).current, block), Names{invariant::idle_cache});
    EXPECT_EQ(with(idle->alive, true), Names{invariant::idle_cache});
}

}  // namespace
}  // namespace mpmm::test

#endif
