// SPDX-License-Identifier: Apache-2.0
//
// Phases of threads that build something up and let it go: each allocates blocks of sizes over several powers of two, keeps a share of them,
// swaps some with a table that all threads use, and frees what it kept at its end. What lies in the table outlives its thread, and every
// other phase the table is emptied, so that memory can go back.
#include <atomic>
#include <vector>

#include "workload.hpp"

namespace {

constexpr std::size_t shared_slots = 2000;
constexpr std::size_t thread_count = 4;

/// A block that carries its size, so that it can be swapped as one pointer; contents are the same whoever frees it.
struct Parcel {
    std::size_t size;
    std::uint64_t stamp;
};
std::array<std::atomic<Parcel*>, shared_slots> table;
std::atomic<std::uint64_t> total{0};

std::size_t size_of(workload::Random& random) {
    // Three in four are small, one in a hundred goes up to 64 KiB.
    const std::size_t kind = random.below(100);
    const std::size_t shift = kind < 75 ? random.between(5, 8) : kind < 99 ? random.between(8, 12) : random.between(12, 16);
    return (std::size_t{1} << shift) + random.below(std::size_t{1} << shift >> 1);
}

Parcel* make(workload::Random& random) {
    const std::size_t size = size_of(random);
    const workload::Block block = workload::take(size, 0);
    return new (block.data) Parcel{size, random.next()};
}

std::uint64_t drop(Parcel* parcel) {
    if (parcel == nullptr) return 0;
    const std::uint64_t held = parcel->size * 0x10001u + parcel->stamp;
    std::free(parcel);
    return held;
}

void work(std::uint64_t seed, std::size_t count) {
    workload::Random random(seed);
    std::vector<Parcel*> kept;
    std::uint64_t sum = 0;
    for (std::size_t index = 0; index < count; ++index) {
        Parcel* parcel = make(random);
        if (random.below(4) == 0) parcel = table[random.below(shared_slots)].exchange(parcel, std::memory_order_acq_rel);
        if (random.below(3) == 0) {
            kept.push_back(parcel);
        } else {
            sum += drop(parcel);
        }
        if (!kept.empty() && random.below(4) == 0) {
            std::swap(kept[random.below(kept.size())], kept.back());
            sum += drop(kept.back());
            kept.pop_back();
        }
    }
    for (Parcel* const parcel : kept) sum += drop(parcel);
    total.fetch_add(sum);
}

}  // namespace

int main(int argc, char** argv) {
    const std::size_t count = workload::scaled(workload::scale_of(argc, argv), 100'000);
    for (std::size_t phase = 0; phase < 12; ++phase) {
        std::vector<std::thread> threads;
        for (std::size_t index = 0; index < thread_count; ++index) threads.emplace_back(work, 16 * phase + index, count);
        for (auto& thread : threads) thread.join();
        if (phase % 2 != 0) {
            for (auto& slot : table) total.fetch_add(drop(slot.exchange(nullptr)));
        }
    }
    return workload::finish(total.load());
}
