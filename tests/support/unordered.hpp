// SPDX-License-Identifier: Apache-2.0
// Threads that hand things on without ordering anything by it: what the one wrote before the other sees only by the orders of what is tested.
// ThreadSanitizer tells when they are too weak; elsewhere such a test passes with nearly any order.
#pragma once

#include <atomic>
#include <cstddef>
#include <thread>

namespace mpmm::test {

/// produce(i) in one thread, consume(what produce(i) returned) in another, for every i below `count`.
template <class Produce, class Consume>
void hand_over_unordered(std::size_t count, Produce produce, Consume consume) {
    using Item = decltype(produce(std::size_t{}));
    static constexpr std::size_t most = 1024;
    static std::atomic<Item> items[most];
    for (auto& item : items) item.store(Item{}, std::memory_order_relaxed);
    std::thread consumer([&] {
        for (std::size_t i = 0; i < count; ++i) {
            Item item{};
            while ((item = items[i % most].load(std::memory_order_relaxed)) == Item{}) std::this_thread::yield();
            items[i % most].store(Item{}, std::memory_order_relaxed);
            consume(item);
        }
    });
    for (std::size_t i = 0; i < count; ++i) {
        const Item item = produce(i);
        while (items[i % most].load(std::memory_order_relaxed) != Item{}) std::this_thread::yield();
        items[i % most].store(item, std::memory_order_relaxed);
    }
    consumer.join();
}

}  // namespace mpmm::test
