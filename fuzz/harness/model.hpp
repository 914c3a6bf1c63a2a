// SPDX-License-Identifier: Apache-2.0
// What must be true: the live blocks as disjoint intervals of addresses, each with its size and its contents. Knows nothing of how the
// allocator works.
#pragma once

#include "harness/failure.hpp"
#include "harness/handoff.hpp"
#include "harness/races.hpp"
#include "harness/signature.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

namespace mpmm::fuzz {

class Model {
  public:
    struct Block {
        std::byte* address = nullptr;
        std::size_t size = 0;    ///< asked for
        std::size_t usable = 0;  ///< what the allocator says it has
        std::uint64_t seed = 0;
        Handoff handoff{};
    };

    std::size_t size() const { return blocks_.size(); }
    bool empty() const { return blocks_.empty(); }
    std::size_t used_bytes() const { return used_bytes_; }
    const Block& operator[](std::size_t slot) const { return blocks_[slot]; }
    /// The slot a number of the input stands for.
    std::size_t slot(std::size_t number) const { return number % blocks_.size(); }

    /// A block was handed out: checks that it overlaps no other, and fills it.
    void add(void* address, std::size_t size, std::size_t usable) {
        Block block{static_cast<std::byte*>(address), size, usable, next_seed_++};
        check_apart(block);
        Signature::fill(block.address, size, block.seed);
        put_in(block);
    }
    /// The block of a slot is about to be freed: checks its contents and forgets it. The last slot moves into its place.
    Block remove(std::size_t slot) {
        const Block block = take_out(slot);
        check(block, "when freed");
        return block;
    }
    /// The block of a slot is about to change: until put_in() or changed() nobody else finds it.
    Block take_out(std::size_t slot) {
        const Block block = blocks_[slot];
        pick_up(block);
        forget(slot);
        return block;
    }
    void put_in(Block block) {
        leave(block);
        by_address_.emplace(block.address, blocks_.size());
        blocks_.push_back(block);
        used_bytes_ += block.usable;
    }
    /// realloc or resize succeeded: the block that was taken out is now at `address` with `size` bytes.
    void changed(const Block& old, void* address, std::size_t size, std::size_t usable) {
        Signature::check(static_cast<std::byte*>(address), old.size, size, old.seed, "after its size changed");
        add(address, size, usable);
    }
    static void check(const Block& block, const char* when) { Signature::check(block.address, block.size, block.size, block.seed, when); }
    void check_all(const char* when) const {
        for (const Block& block : blocks_) {
            pick_up(block);
            check(block, when);
            races::leave(block.address);
        }
    }
    /// The live block that starts at the address, or nullptr.
    const Block* find(const void* address) const {
        const auto found = by_address_.find(static_cast<const std::byte*>(address));
        return found == by_address_.end() ? nullptr : &blocks_[found->second];
    }
    /// Whether the address lies in a live block.
    bool covers(const std::byte* address) const {
        const auto after = by_address_.upper_bound(address);
        return after != by_address_.begin() && address < end(blocks_[std::prev(after)->second]);
    }

  private:
    /// Who hands a block on has written to it, and so has who takes it out.
    static void leave(Block& block) {
        use(block);
        block.handoff.leave();
        races::leave(block.address);
    }
    static void pick_up(const Block& block) {
        races::pick_up(block.address);
        block.handoff.pick_up();
        use(block);
    }
    static void use(const Block& block) {
        const races::Watched watched;
        if (block.size != 0) races::write(block.address);
    }

    /// A block of no bytes has its address for itself.
    static const std::byte* end(const Block& block) { return block.address + (block.usable == 0 ? 1 : block.usable); }

    void check_apart(const Block& block) const {
        const auto after = by_address_.lower_bound(block.address);
        if (after != by_address_.end())
            expect(end(block) <= after->first, "overlap: the new block at ", block.address, " with the live one at ", after->first);
        if (after == by_address_.begin()) return;
        const Block& before = blocks_[std::prev(after)->second];
        expect(end(before) <= block.address, "overlap: the new block at ", block.address, " with the live one at ", before.address);
    }
    void forget(std::size_t slot) {
        used_bytes_ -= blocks_[slot].usable;
        by_address_.erase(blocks_[slot].address);
        if (slot + 1 != blocks_.size()) {
            blocks_[slot] = blocks_.back();
            by_address_[blocks_[slot].address] = slot;
        }
        blocks_.pop_back();
    }

    std::vector<Block> blocks_;
    std::map<const std::byte*, std::size_t> by_address_;
    std::size_t used_bytes_ = 0;
    std::uint64_t next_seed_ = 1;
};

}  // namespace mpmm::fuzz
