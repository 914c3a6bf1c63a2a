// SPDX-License-Identifier: Apache-2.0
//
// One thread allocates, another frees: every block crosses threads, in batches through a ring.
#include <array>
#include <memory>

#include "workload.hpp"

namespace {

constexpr std::size_t batch_size = 256;
constexpr std::size_t ring_size = 64;
using Batch = std::array<workload::Block, batch_size>;

/// Batches stay where they are and are handed over by index, so that the ring itself does not allocate.
struct Ring {
    std::array<Batch, ring_size> batches{};
    std::mutex mutex;
    std::condition_variable changed;
    std::size_t produced = 0;
    std::size_t consumed = 0;
};

void produce(Ring& ring, std::size_t batches) {
    workload::Random random(21);
    for (std::size_t index = 0; index < batches; ++index) {
        {
            std::unique_lock lock(ring.mutex);
            ring.changed.wait(lock, [&] { return ring.produced - ring.consumed < ring_size; });
        }
        for (auto& block : ring.batches[index % ring_size]) block = workload::take(random.between(16, 512), random.next());
        const std::lock_guard lock(ring.mutex);
        ++ring.produced;
        ring.changed.notify_one();
    }
}

std::uint64_t consume(Ring& ring, std::size_t batches) {
    std::uint64_t checksum = 0;
    for (std::size_t index = 0; index < batches; ++index) {
        {
            std::unique_lock lock(ring.mutex);
            ring.changed.wait(lock, [&] { return ring.produced != ring.consumed; });
        }
        for (auto& block : ring.batches[index % ring_size]) checksum += workload::release(block);
        const std::lock_guard lock(ring.mutex);
        ++ring.consumed;
        ring.changed.notify_one();
    }
    return checksum;
}

}  // namespace

int main(int argc, char** argv) {
    const std::size_t batches = workload::scaled(workload::scale_of(argc, argv), 30'000);
    const auto ring = std::make_unique<Ring>();
    std::thread producer([&] { produce(*ring, batches); });
    const std::uint64_t checksum = consume(*ring, batches);
    producer.join();
    return workload::finish(checksum);
}
