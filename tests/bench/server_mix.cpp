// SPDX-License-Identifier: Apache-2.0
//
// Requests of a server: threads go round a ring of their blocks, from 16 to 8000 bytes and the smaller the likelier, and free and allocate a
// handful at each step; now and then a bundle is handed to the next thread, which frees it.
#include <algorithm>
#include <memory>
#include <vector>

#include "workload.hpp"

namespace {

constexpr std::size_t thread_count = 4, ring_size = 12'000, bundle_size = 64;
using Bundle = std::array<workload::Block, bundle_size>;
using Mailbox = workload::Channel<std::unique_ptr<Bundle>>;

std::size_t size_of(workload::Random& random) { return 16 + std::min({random.below(8000), random.below(8000), random.below(8000)}); }

std::uint64_t work(std::size_t number, std::size_t steps, Mailbox& own, Mailbox& next) {
    workload::Random random(61 + number);
    std::vector<workload::Block> ring(ring_size);
    std::uint64_t checksum = 0;
    std::size_t at = 0;
    for (std::size_t step = 0; step < steps; ++step) {
        for (std::size_t left = random.between(1, 40); left != 0; --left) {
            auto& block = ring[at];
            checksum += workload::release(block);
            block = workload::take(size_of(random), random.next());
            at = (at + random.between(1, 3)) % ring_size;
        }
        if (step % 64 == 0) {
            auto bundle = std::make_unique<Bundle>();
            for (auto& block : *bundle) block = workload::take(size_of(random), random.next());
            next.push(std::move(bundle));
            const auto given = own.pop();
            for (auto& block : *given) checksum += workload::release(block);
        }
    }
    for (auto& block : ring) checksum += workload::release(block);
    return checksum;
}

}  // namespace

int main(int argc, char** argv) {
    const std::size_t steps = workload::scaled(workload::scale_of(argc, argv), 50'000);
    std::deque<Mailbox> mailboxes;
    for (std::size_t index = 0; index < thread_count; ++index) mailboxes.emplace_back(thread_count);
    std::array<std::uint64_t, thread_count> sums{};
    std::vector<std::thread> threads;
    for (std::size_t index = 0; index < thread_count; ++index)
        threads.emplace_back([&, index] { sums[index] = work(index, steps, mailboxes[index], mailboxes[(index + 1) % thread_count]); });
    for (auto& thread : threads) thread.join();
    std::uint64_t checksum = 0;
    for (const std::uint64_t sum : sums) checksum += sum;
    return workload::finish(checksum);
}
