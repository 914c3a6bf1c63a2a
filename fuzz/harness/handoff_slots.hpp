// SPDX-License-Identifier: Apache-2.0
// Where real threads leave blocks for each other. A block in a slot is nobody's; whoever takes it out owns it.
#pragma once

#include "harness/failure.hpp"
#include "harness/signature.hpp"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <utility>
#include <vector>

namespace mpmm::fuzz {

class HandoffSlots {
  public:
    static constexpr unsigned count = 64;

    struct Held {
        std::byte* address = nullptr;
        std::size_t size = 0;
        std::uint64_t seed = 0;

        void check(const char* when) const { Signature::check(address, size, size, seed, when); }
    };

    /// Fills the block with a pattern of its own and leaves it in the slot, whose number is taken modulo their count. What was there before.
    Held put(unsigned slot, std::byte* address, std::size_t size) {
        const Held held{address, size, next_seed_.fetch_add(1, std::memory_order_relaxed)};
        Signature::fill(address, size, held.seed);
        return exchange(slot, held);
    }
    Held take(unsigned slot) { return exchange(slot, {}); }

    /// While no other thread runs: no two blocks overlap, and all have their content.
    void check_apart() const {
        std::vector<Held> all;
        for (const Slot& slot : slots_)
            if (slot.held.address != nullptr) all.push_back(slot.held);
        std::sort(all.begin(), all.end(), [](const Held& a, const Held& b) { return a.address < b.address; });
        for (std::size_t i = 0; i < all.size(); ++i) {
            all[i].check("at the end");
            if (i != 0)
                expect(all[i - 1].address + std::max<std::size_t>(all[i - 1].size, 1) <= all[i].address, "overlap: the blocks at ",
                       static_cast<void*>(all[i - 1].address), " and ", static_cast<void*>(all[i].address));
        }
    }

  private:
    struct Slot {
        std::mutex lock;
        Held held;
    };

    Held exchange(unsigned number, const Held& held) {
        Slot& slot = slots_[number % count];
        const std::lock_guard guard(slot.lock);
        return std::exchange(slot.held, held);
    }

    Slot slots_[count];
    std::atomic<std::uint64_t> next_seed_{1};
};

}  // namespace mpmm::fuzz
