// SPDX-License-Identifier: Apache-2.0
//
// Times the paths of the allocator one by one through its C API.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>

#include "mpmm/mpmm.h"

namespace {

constexpr std::size_t batch_size = 256;
using Batch = std::array<void*, batch_size>;

std::size_t size_of(const benchmark::State& state) { return static_cast<std::size_t>(state.range(0)); }

/// malloc and sized free of one block, a few others of that size being live.
void pair(benchmark::State& state) {
    const std::size_t size = size_of(state);
    void* live = mpmm_malloc(size);
    for (auto _ : state) {
        void* block = mpmm_malloc(size);
        benchmark::DoNotOptimize(block);
        mpmm_free(block, size);
    }
    mpmm_free(live, size);
}

void pair_unsized(benchmark::State& state) {
    const std::size_t size = size_of(state);
    void* live = mpmm_malloc(size);
    for (auto _ : state) {
        void* block = mpmm_malloc(size);
        benchmark::DoNotOptimize(block);
        mpmm_free_unsized(block);
    }
    mpmm_free(live, size);
}

/// 256 blocks are allocated, then freed in the order of their allocation; the time is per block.
void fifo(benchmark::State& state) {
    const std::size_t size = size_of(state);
    Batch blocks{};
    while (state.KeepRunningBatch(batch_size)) {
        for (void*& block : blocks) block = mpmm_malloc(size);
        benchmark::ClobberMemory();
        for (void* block : blocks) mpmm_free(block, size);
    }
}

/// The same through the batch calls.
void batch_calls(benchmark::State& state) {
    const std::size_t size = size_of(state);
    Batch blocks{};
    while (state.KeepRunningBatch(batch_size)) {
        if (mpmm_malloc_batch(size, blocks.size(), blocks.data()) != blocks.size()) {
            state.SkipWithError("out of memory");
            break;
        }
        benchmark::ClobberMemory();
        mpmm_free_batch(size, blocks.size(), blocks.data());
    }
}

/// What a thread pays to free blocks that another one allocated; their allocation is not timed.
void free_remote(benchmark::State& state) {
    const std::size_t size = size_of(state);
    Batch blocks{};
    std::atomic<int> turn{0};  // 0: the owner allocates, 1: this thread frees, 2: the owner ends
    std::thread owner([&] {
        for (;;) {
            for (void*& block : blocks) block = mpmm_malloc(size);
            turn.store(1, std::memory_order_release);
            turn.notify_one();
            turn.wait(1, std::memory_order_acquire);
            if (turn.load(std::memory_order_acquire) == 2) return;
        }
    });
    turn.wait(0, std::memory_order_acquire);
    while (state.KeepRunningBatch(batch_size)) {
        for (void* block : blocks) mpmm_free(block, size);
        state.PauseTiming();
        turn.store(0, std::memory_order_release);
        turn.notify_one();
        turn.wait(0, std::memory_order_acquire);
        state.ResumeTiming();
    }
    turn.store(2, std::memory_order_release);
    turn.notify_one();
    owner.join();
    for (void* block : blocks) mpmm_free(block, size);
}

void zalloc(benchmark::State& state) {
    const std::size_t size = size_of(state);
    for (auto _ : state) {
        void* block = mpmm_zalloc(size);
        benchmark::DoNotOptimize(block);
        mpmm_free(block, size);
    }
}

void aligned(benchmark::State& state) {
    const std::size_t size = size_of(state);
    for (auto _ : state) {
        void* block = mpmm_aligned_alloc(64, size);
        benchmark::DoNotOptimize(block);
        mpmm_free(block, size);
    }
}

/// A block grows by half its size at a time from 16 bytes to the size.
void realloc_grow(benchmark::State& state) {
    const std::size_t size = size_of(state);
    for (auto _ : state) {
        std::size_t held = 16;
        void* block = mpmm_malloc(held);
        while (held < size) {
            const std::size_t larger = std::min(size, held + held / 2);
            block = mpmm_realloc(block, held, larger);
            held = larger;
        }
        benchmark::DoNotOptimize(block);
        mpmm_free(block, held);
    }
}

/// A block changes between the size and one byte less, which no allocator has to move it for.
void realloc_in_place(benchmark::State& state) {
    const std::size_t size = size_of(state);
    std::size_t held = size;
    void* block = mpmm_malloc(held);
    for (auto _ : state) {
        const std::size_t other = held == size ? size - 1 : size;
        block = mpmm_realloc(block, held, other);
        benchmark::DoNotOptimize(block);
        held = other;
    }
    mpmm_free(block, held);
}

void sizes(benchmark::internal::Benchmark* bench) { bench->RangeMultiplier(4)->Range(16, 1 << 20); }

void small_sizes(benchmark::internal::Benchmark* bench) { bench->RangeMultiplier(4)->Range(16, 1 << 14); }

BENCHMARK(pair)->Apply(sizes);
BENCHMARK(pair)->Name("pair_two_threads")->Arg(64)->Threads(2);
BENCHMARK(pair_unsized)->Apply(sizes);
BENCHMARK(fifo)->Apply(small_sizes);
BENCHMARK(batch_calls)->Apply(small_sizes);
BENCHMARK(free_remote)->Apply(small_sizes);
BENCHMARK(zalloc)->Apply(sizes);
BENCHMARK(aligned)->Apply(sizes);
BENCHMARK(realloc_grow)->Apply(sizes);
BENCHMARK(realloc_in_place)->Apply(sizes);

}  // namespace

BENCHMARK_MAIN();
