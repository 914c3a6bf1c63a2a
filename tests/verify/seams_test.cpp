// SPDX-License-Identifier: Apache-2.0
// The seams notice what is broken at the moment it matters, without a check of the whole heap: a structure is broken, then the allocator
// comes by.
#include "broken_heap.hpp"

#ifdef MPMM_VERIFY_BUILD  // release has no seams

namespace mpmm::test {
namespace {

class Seams : public BrokenHeap {
  protected:
    void SetUp() override {
        BrokenHeap::SetUp();
        fresh = new Block;
        make();
    }
    void TearDown() override {
        BrokenHeap::TearDown();
        delete fresh;
    }
    /// A block allocator without a heap, owned by nobody in particular.
    void make() {
        fresh->owner_word.store(Owner(OwnerState::orphan).word());
        fresh->create(Shared<C>::shapes[index_of_size], index_of_size, slot_, nullptr, false);
    }
    template <class Action>
    Names on_fresh(Action action) {
        Names names = reported([&] { action(*fresh); });
        make();
        return names;
    }
    alignas(64) std::byte slot_[64];
    Block* fresh = nullptr;
};

// ---- in a heap that works ----

TEST_F(Seams, FreeBitOfAHeldBlockIsHandedOutAgain) {
    auto& bin = I::bin(*H::own_cache(), index_of_size);
    void* const held = H::malloc(size);
    ASSERT_EQ(bin.word, &free_word_of(held));
    free_word_of(held).fetch_or(bit_of(held));
    void* again = nullptr;
    // The lowest free bit of the word, unless one lies below.
    EXPECT_EQ(reported([&] {
                  while (again != held) filling.push_back(again = H::malloc(size));
              }),
              Names{invariant::one_user});
}

TEST_F(Seams, RemoteBitOfAFreeBlock) {
    auto& bin = I::bin(*H::own_cache(), index_of_size);
    void* const next = H::malloc(size);
    H::free(next);
    ASSERT_EQ(bin.word, &free_word_of(next));
    remote_word_of(next).fetch_or(bit_of(next));
    void* taken = nullptr;
    EXPECT_EQ(reported([&] {
                  while (taken != next) filling.push_back(taken = H::malloc(size));
              }),
              Names{invariant::handed_out_not_remote});
    remote_word_of(next).fetch_and(~bit_of(next));
}

TEST_F(Seams, RemoteBitThatNobodyPublished) {
    void* const lost = H::malloc(size);
    Block& of = *block_of(lost);
    of.record.live[index_in_block(lost) / 64].fetch_and(~bit_of(lost));
    remote_word_of(lost).fetch_or(bit_of(lost));
    EXPECT_EQ(reported([&] {
                  while (remote_word_of(lost).load() != 0) filling.push_back(H::malloc(size));
              }),
              Names{invariant::drained_published});
}

TEST_F(Seams, RemoteBitThatIsLost) {
    const std::vector<void*> blocks = full_block_allocator();
    void* const lost = blocks[0];
    Block& of = *block_of(lost);
    Other other;
    other.run([&] {
        H::free(lost);
        H::flush();
    });
    ASSERT_EQ(remote_word_of(lost).load(), bit_of(lost));
    remote_word_of(lost).store(0);
    // The slot goes back though the block is still on its way.
    EXPECT_EQ(reported([&] { V::given_back(of); }).count(invariant::given_back_reclaimed), 1u);
    remote_word_of(lost).store(bit_of(lost));
    filling.insert(filling.end(), blocks.begin() + 1, blocks.end());
}

TEST_F(Seams, WaitingTwice) {
    Block* const waits = wake(full_block_allocator());
    BlockList<C> second;
    Block *const next = waits->next, *const previous = waits->previous;
    EXPECT_EQ(reported([&] { second.push_back(waits); }), Names{invariant::one_list});
    waits->next = next;
    waits->previous = previous;
}

TEST_F(Seams, LeavesAListItIsNotOn) {
    Block* const waits = wake(full_block_allocator());
    waits->record.listed = false;
    EXPECT_EQ(reported([&] {
                  while (I::bin(*H::own_cache(), index_of_size).current != waits) filling.push_back(H::malloc(size));
              }),
              Names{invariant::one_list});
}

TEST_F(Seams, BinOutlivesTheSlot) {
    auto& bin = I::bin(*H::own_cache(), index_of_size);
    void* const next = H::malloc(size);
    H::free(next);
    ASSERT_EQ(bin.word, &free_word_of(next));
    bin.record.base = slot_;
    EXPECT_EQ(reported([&] { filling.push_back(H::malloc(size)); }), Names{invariant::handed_out_here});
    bin.record.base = block_of(next)->base;
}

// ---- alone, where the allocator's own order of steps cannot lead it ----

TEST_F(Seams, Created) {
    EXPECT_EQ(on_fresh([](Block& of) {
                  of.free_map[0].store(0);
                  V::created(of);
              }),
              Names{invariant::new_free_map});
    EXPECT_EQ(on_fresh([](Block& of) {
                  of.remote_map[0].store(1);
                  V::created(of);
              }),
              Names{invariant::new_remote_map});
}

TEST_F(Seams, HandedOut) {
    const auto hand_out = [&](unsigned index) { return on_fresh([=](Block& of) { V::handed_out(of, index); }); };
    EXPECT_EQ(hand_out(3), Names{invariant::handed_out_not_free});
    fresh->free_map[0].store(0);
    fresh->reserved_first = 5;
    fresh->reserved_count = 2;
    EXPECT_EQ(hand_out(6), Names{invariant::handed_out_not_reserved});
    fresh->blocks = 70;
    fresh->free_map[1].store(0);
    EXPECT_EQ(hand_out(70), Names{invariant::handed_out_in_range});
    fresh->free_map[0].store(0);
    fresh->record.published[0].store(2);
    EXPECT_EQ(hand_out(1), Names{invariant::handed_out_not_remote}) << "still on its way";
}

TEST_F(Seams, Published) {
    EXPECT_EQ(on_fresh([](Block& of) { V::remote_published(of, 0, 1); }), Names{});
    EXPECT_EQ(on_fresh([](Block& of) {
                  of.record.live[0].store(1);
                  V::remote_published(of, 0, 1);
              }),
              Names{invariant::published_is_nobodys});
    EXPECT_EQ(on_fresh([](Block& of) {
                  of.blocks = 10;
                  V::remote_published(of, 0, std::uint64_t{1} << 10);
              }),
              Names{invariant::published_in_range});
    EXPECT_EQ(on_fresh([](Block& of) {
                  of.owner_word.store(0);
                  V::remote_published(of, 0, 1);
              }),
              Names{invariant::published_in_use});
    EXPECT_EQ(on_fresh([](Block& of) {
                  V::remote_published(of, 0, 1);
                  V::remote_published(of, 0, 3);
              }),
              Names{invariant::published_once});
}

TEST_F(Seams, Drained) {
    const auto drain = [&](auto prepare) {
        return on_fresh([&](Block& of) {
            of.free_map[0].store(0);
            of.publish(0, 1);
            prepare(of);
            of.drain();
        });
    };
    EXPECT_EQ(drain([](Block&) {}), Names{});
    EXPECT_EQ(drain([](Block& of) { of.remote_map[0].store(3); }), Names{invariant::drained_published});
    EXPECT_EQ(drain([](Block& of) { of.owner_word.store(Owner(OwnerState::large_free).word()); }), Names{invariant::drained_in_use});
    EXPECT_EQ(on_fresh([](Block& of) {
                  of.publish(1, 1);
                  of.record.published[0].store(1);
                  of.record.live[0].store(1);
                  V::taken_over(of, 0, 1);
              }),
              Names{invariant::drained_is_nobodys});
    // What a drain leaves behind is looked at as well.
    EXPECT_EQ(drain([](Block& of) { of.record.live[2].store(1); }), Names{invariant::free_not_held});
    EXPECT_EQ(drain([](Block& of) { of.blocks = 70; }), Names{invariant::reserved_bits});
}

TEST_F(Seams, OwnerChanges) {
    EXPECT_EQ(on_fresh([](Block& of) { of.set_owner(Owner(OwnerState::large_used)); }), Names{invariant::legal_transition});
    EXPECT_EQ(on_fresh([](Block& of) { of.change_owner(Owner(OwnerState::orphan), Owner(&of, OwnerState::queued)); }),
              Names{invariant::legal_transition});
    EXPECT_EQ(on_fresh([](Block& of) {
                  of.set_owner(Owner(&of, OwnerState::active));
                  of.set_owner(Owner(&of, OwnerState::queued));
              }),
              Names{invariant::legal_transition});
}

TEST_F(Seams, GivenBack) {
    EXPECT_EQ(on_fresh([](Block& of) { V::given_back(of); }), Names{});
    EXPECT_EQ(on_fresh([](Block& of) {
                  of.free_map[1].store(7);
                  V::given_back(of);
              }),
              Names{invariant::given_back_free});
    EXPECT_EQ(on_fresh([](Block& of) {
                  of.record.live[1].store(7);
                  V::given_back(of);
              }),
              Names{invariant::given_back_nobodys});
    EXPECT_EQ(on_fresh([](Block& of) {
                  of.record.published[1].store(7);
                  V::given_back(of);
              }),
              Names{invariant::given_back_reclaimed});
    EXPECT_EQ(on_fresh([](Block& of) {
                  V::listed(of, true);
                  V::given_back(of);
              }),
              Names{invariant::one_list});
}

}  // namespace
}  // namespace mpmm::test

#endif
