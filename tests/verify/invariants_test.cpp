// SPDX-License-Identifier: Apache-2.0
// The checks can fail: each test breaks one structure of a heap and expects the check of the whole heap to call it by its name, and nothing
// else. Here: maps, owners, pools, chunk map and large cache; lists are in invariants_lists_test.cpp.
#include "broken_heap.hpp"

namespace mpmm::test {
namespace {

/// Aligned to everything, and nothing is mapped there.
constexpr std::uintptr_t nowhere = std::uintptr_t{1} << (sizeof(void*) == 8 ? 40 : 29);

class Invariants : public BrokenHeap {
  protected:
    /// A free run of several chunks.
    static mpmm::Run* some_free_run() {
        void* const large = H::malloc(4 * H::G::chunk);
        void* const behind = H::malloc(2 * H::G::chunk);
        H::free(large);
        mpmm::Run* found = nullptr;
        H::shared.large.for_each_free([&](mpmm::Run& run) { found = run.extent.chunks >= 4 ? &run : found; });
        H::free(behind);
        H::shared.large.for_each_free([&](mpmm::Run& run) { found = run.extent.chunks >= 4 ? &run : found; });
        return found;
    }
    static mpmm::Run* run_of(void* large) { return static_cast<mpmm::Run*>(H::shared.locate(large)); }
    static Names with_entry(const std::byte* chunk, Entries::Entry entry) {
        const auto old = H::shared.map.find(chunk);
        H::shared.map.set(chunk, entry);
        Names names = check();
        H::shared.map.set(chunk, old);
        return names;
    }
};

TEST_F(Invariants, HaveDistinctNamesAndMeanings) {
    Names names;
    for (const auto& [name, meaning] : invariant::all) {
        EXPECT_TRUE(names.insert(name).second) << name;
        EXPECT_GT(std::string(meaning).size(), 10u) << name;
    }
}

TEST_F(Invariants, WholeHeapIsFine) { EXPECT_EQ(check(), Names{}); }

// ---- maps ----

TEST_F(Invariants, FreeAndRemoteOverlap) {
    const unsigned last = block->used_words() - 1;
    EXPECT_EQ(with(block->remote_map[last], std::uint64_t{1} << 63), Names{invariant::free_remote_disjoint});
}

TEST_F(Invariants, ReservedBitIsFree) {
    void* const small = H::malloc(8);
    Block& of = *block_of(small);
    ASSERT_GT(of.reserved_count, 0u);
    auto& word = of.free_map[of.reserved_first / 64];
    EXPECT_EQ(with(word, word.load() | std::uint64_t{1} << (of.reserved_first % 64)), Names{invariant::reserved_bits});
    H::free(small);
}

TEST_F(Invariants, WordBeyondTheLastBlockChanges) {
    void* const big = H::malloc(H::Classes::max_size);
    Block& of = *block_of(big);
    ASSERT_LT(of.blocks, 64u);
    EXPECT_EQ(with(of.free_map[Block::words - 1], 0), Names{invariant::reserved_bits});
    EXPECT_EQ(with(of.free_map[0], of.free_map[0].load() | std::uint64_t{1} << 63), Names{invariant::reserved_bits});
    EXPECT_EQ(with(of.remote_map[1], 1), Names{invariant::remote_bits});
    H::free(big);
}

TEST_F(Invariants, ShapeIsWrong) {
    const std::vector<void*> blocks = full_block_allocator();
    Block& full = *block_of(blocks[0]);
    EXPECT_EQ(with(full.blocks, full.blocks - 1), Names{invariant::block_shape});
    EXPECT_EQ(with(full.size, full.size + 8), Names{invariant::block_shape});
    filling.insert(filling.end(), blocks.begin(), blocks.end());
}

// ---- owners ----

TEST_F(Invariants, IllegalOwner) {
    EXPECT_EQ(with(block->owner_word, Owner(OwnerState::large_used).word()), Names{invariant::legal_owner});
    EXPECT_EQ(with(block->owner_word, 0), Names{invariant::legal_owner});
}

TEST_F(Invariants, BlockAllocatorLeftItsSlot) {
    const std::vector<void*> blocks = full_block_allocator();
    Block& full = *block_of(blocks[0]);
    EXPECT_EQ(with(full.base, full.base + full.chunk->slots * sizeof(void*) * 4096), Names{invariant::in_its_slot});
    filling.insert(filling.end(), blocks.begin(), blocks.end());
}

// ---- pools ----

TEST_F(Invariants, WrongChunkRecord) {
    auto& chunk = *block->chunk;
    EXPECT_EQ(with(chunk.free_slots, chunk.free_slots + 1), Names{invariant::free_slots_counted});
    EXPECT_EQ(with(chunk.slot_shift, chunk.slot_shift + 1), Names{invariant::chunk_pointer});
    EXPECT_EQ(with(chunk.dirty_bits[0], chunk.dirty_bits[0] | 1u << chunk.slot_index(block->base)), Names{invariant::slot_bits});
    EXPECT_EQ(with(chunk.all_previous, &chunk), Names{invariant::chunk_links});
    EXPECT_EQ(with(chunk.previous, &chunk), Names{invariant::chunk_links});
    auto& pool = H::shared.pool_of(chunk.intrusive, chunk.slot_shift);
    EXPECT_EQ(with(I::usable(pool), nullptr), Names{invariant::chunk_usable});
    EXPECT_EQ(with(I::all(pool), reinterpret_cast<SlotChunk<C>*>(nowhere)), Names{invariant::chunk_pointer});
}

TEST_F(Invariants, FreeSlotHasAnOwner) {
    auto& chunk = *block->chunk;
    ASSERT_GT(chunk.free_slots, 0u);
    std::size_t slot = 0;
    while (!chunk.is_free(slot)) ++slot;
    EXPECT_EQ(with(chunk.block(slot)->owner_word, Owner(OwnerState::orphan).word()), Names{invariant::free_slot_unowned});
}

TEST_F(Invariants, ChunkHasNoEntry) { EXPECT_EQ(with_entry(block->chunk->extent.base, Entries::none()), Names{invariant::chunk_entry}); }

// ---- chunk map ----

TEST_F(Invariants, EntryWithoutDescriptor) {
    void* const large = H::malloc(3 * H::G::chunk);
    std::byte* const inside = static_cast<std::byte*>(large) + H::G::chunk;
    EXPECT_EQ(with_entry(inside, Entries::whole(reinterpret_cast<Tenant*>(nowhere))), Names{invariant::entry_tenant});
    EXPECT_EQ(with_entry(inside, Entries::whole(reinterpret_cast<Tenant*>(&ForeignTenant::storage[1]))), Names{invariant::entry_tenant});
    EXPECT_EQ(with_entry(inside, block->chunk->entry()), Names{invariant::entry_tenant});
    EXPECT_EQ(with_entry(inside, Entries::whole(run_of(large))), Names{invariant::entry_covers});
    EXPECT_EQ(with(run_of(large)->extent.base, inside), Names{invariant::entry_covers});
    EXPECT_EQ(with(run_of(large)->owner_word, Owner(OwnerState::unused).word()), Names{invariant::entry_tenant});
    EXPECT_EQ(with(run_of(large)->owner_word, Owner(OwnerState::large_free).word()), Names{invariant::entry_tenant});
    H::free(large);
}

TEST_F(Invariants, RunsOverlap) {
    // One behind the other: the first grows over the second.
    void *first = H::malloc(2 * H::G::chunk), *second = H::malloc(2 * H::G::chunk);
    if (second < first) std::swap(first, second);
    const auto apart = static_cast<std::size_t>(static_cast<std::byte*>(second) - static_cast<std::byte*>(first)) / H::G::chunk;
    EXPECT_EQ(with(run_of(first)->extent.chunks, apart + 1), Names{invariant::runs_disjoint});
    H::free(first);
    H::free(second);
}

TEST_F(Invariants, StatisticsDoNotAddUp) {
    void* const large = H::malloc(2 * H::G::chunk);
    EXPECT_EQ(with(I::used_bytes(), I::used_bytes().load() + 1), Names{invariant::used_bytes});
    EXPECT_EQ(with(I::used_blocks(), I::used_blocks().load() + 1), Names{invariant::used_blocks});
    EXPECT_EQ(with_entry(static_cast<std::byte*>(large), Entries::none()), Names{invariant::used_blocks});
    H::free(large);
}

// ---- large cache ----

TEST_F(Invariants, FreeRunIsBroken) {
    mpmm::Run& run = *some_free_run();
    const std::size_t list = I::list_of(run.extent.chunks);
    std::byte* const last = run.extent.base + (run.extent.chunks - 1) * H::G::chunk;
    EXPECT_EQ(with_entry(last, Entries::none()), Names{invariant::free_run_last});
    EXPECT_EQ(with_entry(run.extent.base, Entries::none()), Names{invariant::free_run_first});
    EXPECT_EQ(with_entry(run.extent.base + H::G::chunk, Entries::whole(&run)), Names{invariant::free_run_inside});
    EXPECT_EQ(with(run.owner_word, Owner(OwnerState::large_used).word()), Names{invariant::free_run_owner});
    EXPECT_EQ(with(run.previous, &run), Names{invariant::run_links});
    EXPECT_EQ(with(run.next, &run), Names{invariant::run_links}) << "a cycle";
    EXPECT_EQ(with(run.next, reinterpret_cast<mpmm::Run*>(nowhere)), Names{invariant::run_pointer});
    EXPECT_EQ(with(run.next, reinterpret_cast<mpmm::Run*>(reinterpret_cast<std::uintptr_t>(&run) + 8)), Names{invariant::run_pointer});
    EXPECT_EQ(with(run.extent.chunks, run.extent.chunks == 1 ? 2 : 1), Names{invariant::run_list});
    EXPECT_EQ(with(I::cached(), I::cached().load() + H::G::chunk), Names{invariant::cached_sum});
    EXPECT_EQ(with(I::runs(list), run.next), Names{invariant::cached_sum}) << "unlinked";
}

#ifdef MPMM_VERIFY_BUILD

// ---- what the record tells ----

TEST_F(Invariants, FreeBitOfAHeldBlock) {
    EXPECT_EQ(with(free_word_of(memory), free_word_of(memory).load() | bit_of(memory)), Names{invariant::free_not_held});
}

TEST_F(Invariants, FreeBitIsLost) {
    auto& last = block->free_map[block->used_words() - 1];
    EXPECT_EQ(with(last, last.load() & ~(std::uint64_t{1} << 63)), Names{invariant::every_block_somewhere});
}

TEST_F(Invariants, RemoteBitOfAHeldBlock) {
    EXPECT_EQ(with(remote_word_of(memory), bit_of(memory)), Names{invariant::remote_published});
    auto& published = block->record.published[index_in_block(memory) / 64];
    published.store(bit_of(memory));
    EXPECT_EQ(with(remote_word_of(memory), bit_of(memory)), Names{invariant::remote_not_held});
    published.store(0);
}

TEST_F(Invariants, RemoteFreeIsLost) {
    void* const victim = H::malloc(size);
    Other other;
    other.run([&] {
        H::free(victim);
        H::flush();
    });
    ASSERT_EQ(remote_word_of(victim).load(), bit_of(victim));
    const auto& publisher = block_of(victim)->record.publisher[index_in_block(victim) / 64];
    EXPECT_NE(publisher.load(), nullptr);
    EXPECT_NE(publisher.load(), thread::self());
    EXPECT_EQ(with(remote_word_of(victim), 0), Names{invariant::published_arrives});
}

TEST_F(Invariants, CombinedBlockIsElsewhereToo) {
    // On a slow machine, what is combined would be published by now.
    ASSERT_EQ(mpmm_set_option("decay_ms", "86400000"), 0);
    void* const victim = H::malloc(size);
    Other other;
    Cache* cache = nullptr;
    other.run([&] {
        H::free(victim);
        cache = H::own_cache();
    });
    const unsigned w = index_in_block(victim) / 64;
    ASSERT_EQ(I::combined_bits(*cache, *block, w), bit_of(victim));
    EXPECT_EQ(with(free_word_of(victim), free_word_of(victim).load() | bit_of(victim)), Names{invariant::combined_once});
    for (std::size_t way = 0; way < I::combined_ways; ++way) {
        auto& entry = I::combined(*cache, index_of_size, way);
        if (entry.key == 0) continue;
        EXPECT_EQ(with(entry.mask, 0), Names{invariant::every_block_somewhere});
        EXPECT_EQ(with(entry.key, nowhere + entry.key % alignof(Block)), Names{invariant::combined_key});
    }
    ASSERT_EQ(mpmm_set_option("decay_ms", "1000"), 0);
}

TEST_F(Invariants, OwnerChangesWithoutASeam) {
    const std::vector<void*> blocks = full_block_allocator();
    Block& full = *block_of(blocks[0]);
    EXPECT_EQ(with(full.owner_word, Owner(OwnerState::orphan).word()), Names{invariant::owner_at_seam});
    filling.insert(filling.end(), blocks.begin(), blocks.end());
}

TEST_F(Invariants, OwnerIsNoCache) {
    const std::vector<void*> blocks = full_block_allocator();
    Block& full = *block_of(blocks[0]);
    const Owner wrong(reinterpret_cast<const void*>(nowhere), OwnerState::full);
    const std::uintptr_t told = full.record.owner.load();
    full.record.owner.store(wrong.word());
    EXPECT_EQ(with(full.owner_word, wrong.word()), Names{invariant::owner_registered});
    full.record.owner.store(told);
    filling.insert(filling.end(), blocks.begin(), blocks.end());
}

#endif

// ---- what the user does ----

TEST_F(Invariants, UserErrorsAreReportedAndIgnored) {
    int on_stack = 0;
    void* const victim = H::malloc(96);
    filling.push_back(H::malloc(96));
    ::testing::internal::CaptureStderr();
    H::free(victim);
    H::free(victim);
    H::free(static_cast<std::byte*>(memory) + 1);
    H::free(static_cast<std::byte*>(memory) + 16);
    H::free(&on_stack);
    H::free(reinterpret_cast<void*>(UINTPTR_MAX / 2 + 1));
    const std::string text = ::testing::internal::GetCapturedStderr();
    std::size_t doubles = 0, invalid = 0;
    for (std::size_t at = 0; (at = text.find("ERROR: mpmm: double-free on address 0x", at)) != std::string::npos; ++at) ++doubles;
    for (std::size_t at = 0; (at = text.find("ERROR: mpmm: invalid-free on address 0x", at)) != std::string::npos; ++at) ++invalid;
    EXPECT_EQ(doubles, 1u) << text;
    EXPECT_EQ(invalid, 4u) << text;
}

TEST_F(Invariants, OptionsAreCheckedAsAWhole) {
    ::testing::internal::CaptureStderr();
    EXPECT_FALSE(options::apply("exitcode=7:no_such_key=1:purge=2"));
    EXPECT_EQ(options::get(options::exitcode), 0u) << "nothing changed";
    EXPECT_TRUE(options::apply("exitcode=7::decay_ms=2k"));
    EXPECT_EQ(options::get(options::exitcode), 7u);
    EXPECT_EQ(options::get(options::decay_ms), 2048u);
    EXPECT_TRUE(options::apply("exitcode=0:decay_ms=1000"));
    EXPECT_FALSE(options::apply("exitcode"));
    EXPECT_FALSE(options::apply("exitcode="));
    EXPECT_FALSE(options::apply("exitcode=99999999999999999999999"));
    EXPECT_FALSE(options::apply("exitcode=1x"));
    const std::string text = ::testing::internal::GetCapturedStderr();
    EXPECT_NE(text.find("unknown key 'no_such_key'"), std::string::npos) << text;
    EXPECT_NE(text.find("bad value for 'purge'"), std::string::npos) << text;
}

}  // namespace
}  // namespace mpmm::test
