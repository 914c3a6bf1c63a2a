// SPDX-License-Identifier: Apache-2.0
//
// Threads in a circle: each allocates batches of blocks and passes them to the next one, which frees them. All threads allocate
// and free at the same time, and no block is freed where it was allocated.
#include <array>
#include <memory>
#include <vector>

#include "workload.hpp"

namespace {

constexpr std::size_t thread_count = 4;
constexpr std::size_t batch_size = 128;
constexpr std::size_t lead = 16;  // batches a thread passes on before it takes its first

struct Batch {
    std::array<workload::Block, batch_size> blocks;
};
using Mailbox = workload::Channel<std::unique_ptr<Batch>>;

std::uint64_t free_batch(std::unique_ptr<Batch> batch) {
    std::uint64_t checksum = 0;
    for (auto& block : batch->blocks) checksum += workload::release(block);
    return checksum;
}

std::uint64_t work(std::size_t index, std::size_t batches, Mailbox& own, Mailbox& next) {
    workload::Random random(31 + index);
    std::uint64_t checksum = 0;
    for (std::size_t count = 0; count < batches; ++count) {
        auto batch = std::make_unique<Batch>();
        for (auto& block : batch->blocks) block = workload::take(random.between(16, 256), random.next());
        next.push(std::move(batch));
        if (count >= lead) checksum += free_batch(own.pop());
    }
    for (std::size_t rest = batches < lead ? batches : lead; rest != 0; --rest) checksum += free_batch(own.pop());
    return checksum;
}

}  // namespace

int main(int argc, char** argv) {
    const std::size_t batches = workload::scaled(workload::scale_of(argc, argv), 20'000);

    // Room for the leads of all threads together: more can never wait in one mailbox, so push() never blocks for good.
    std::deque<Mailbox> mailboxes;
    for (std::size_t index = 0; index < thread_count; ++index) mailboxes.emplace_back(thread_count * (lead + 1));
    std::array<std::uint64_t, thread_count> checksums{};
    std::vector<std::thread> threads;
    for (std::size_t index = 0; index < thread_count; ++index) {
        threads.emplace_back(
            [&, index] { checksums[index] = work(index, batches, mailboxes[index], mailboxes[(index + 1) % thread_count]); });
    }
    for (auto& thread : threads) thread.join();

    std::uint64_t checksum = 0;
    for (const std::uint64_t part : checksums) checksum += part;
    return workload::finish(checksum);
}
