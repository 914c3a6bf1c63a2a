// SPDX-License-Identifier: Apache-2.0
// What grows with the number of processors and what does not: counts, for 2 to 64 virtual threads, the atomic accesses of an operation that
// cost more than a plain one, and those that find the cache line with another thread.
//
// The threads take turns, an operation each, so nobody ever waits for a lock; what is counted is who had each cache line last, as a machine
// with one private cache a thread would see it (the states of a MESI protocol, with caches that never evict): a write is a transfer when
// another thread has touched the line since this one wrote it last, a read when another has written it since this one touched it. Plain
// fields are not seen: they are one thread's, or lie under a lock, which is. Prints a table, and fails when a count of an operation grows by
// more than the tolerance from 4 threads to 64.
#include "mpmm/mpmm.h"
#include "platform/schedule.hpp"

#include <CLI/CLI.hpp>
#include <array>
#include <cstdio>
#include <cstring>
#include <deque>
#include <unordered_map>
#include <vector>

namespace {

using mpmm::schedule::Access, mpmm::schedule::Point, mpmm::schedule::thread_index;

struct Counts {
    double operations = 0, atomic = 0, written = 0, read = 0;
};

class Counter final : public mpmm::schedule::Scheduler {
  public:
    Counts counts;

    void reach(const Point& point) override {
        const bool loads = point.access == Access::load;
        if (point.access >= Access::spin) return;
        if (!loads && (point.access != Access::store || point.order == std::memory_order_seq_cst)) ++counts.atomic;
        // Who has the line: the threads that touched it since the last write, which is by one of them.
        std::uint64_t& holders = lines_[reinterpret_cast<std::uintptr_t>(point.address) / line_size];
        const std::uint64_t mine = std::uint64_t{1} << thread_index;
        if (loads) {
            counts.read += holders != 0 && (holders & mine) == 0;
            holders |= mine;
        } else {
            counts.written += (holders & ~mine) != 0;
            holders = mine;
        }
    }
    std::uint64_t load(const Point&, std::uint64_t newest) override { return newest; }
    void refused(const Point&, std::uint64_t) override {}
    void store(const Point&, std::uint64_t, std::uint64_t) override {}
    void modify(const Point&, std::uint64_t, std::uint64_t) override {}
    bool fails_spuriously(const Point&) override { return false; }
    void born(const void*, std::size_t) override {}
    void sleep(const Point&, const std::atomic<std::uint32_t>&, std::uint32_t) override {
        std::fputs("a thread sleeps, though all take turns\n", stderr);
        std::abort();
    }

  private:
    static constexpr std::size_t line_size = 64;
    std::unordered_map<std::uintptr_t, std::uint64_t> lines_;
};

std::uint64_t next(std::uint64_t& state) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return state >> 33;
}

struct Block {
    void* address = nullptr;
    std::size_t size = 0;
};

Block allocate(std::uint64_t& random) {
    const std::size_t size = 16 + next(random) % 496;
    void* const address = mpmm_malloc(size);
    if (address == nullptr) throw std::runtime_error("out of memory");
    return {address, size};
}
void release(Block& block) {
    if (block.address != nullptr) mpmm_free(block.address, block.size);
    block = {};
}

/// One virtual thread's turn: an allocation and a free. What it frees is its own, or what the thread before it allocated.
struct Thread {
    std::vector<Block> table = std::vector<Block>(1000);
    std::deque<Block> given;
    std::uint64_t random = 0;

    void replace() {
        Block& block = table[next(random) % table.size()];
        release(block);
        block = allocate(random);
    }
    void pass_on(Thread& to) {
        to.given.push_back(allocate(random));
        if (given.size() > 200) {
            release(given.front());
            given.pop_front();
        }
    }
};

enum class Pattern { own, passed, mixed };

Counts measure(Pattern pattern, unsigned threads, unsigned turns) {
    std::vector<Thread> all(threads);
    for (unsigned i = 0; i < threads; ++i) all[i].random = i + 1;
    const auto take_turns = [&](unsigned count) {
        for (unsigned turn = 0; turn < count; ++turn)
            for (thread_index = 0; thread_index < threads; ++thread_index) {
                Thread& thread = all[thread_index];
                const bool passes = pattern == Pattern::passed || (pattern == Pattern::mixed && turn % 10 == 0);
                if (passes) thread.pass_on(all[(thread_index + 1) % threads]);
                else thread.replace();
            }
    };
    take_turns(turns);
    Counter counter;
    mpmm::schedule::scheduler = &counter;
    take_turns(turns);
    mpmm::schedule::scheduler = nullptr;
    for (thread_index = 0; thread_index < threads; ++thread_index) {
        for (Block& block : all[thread_index].table) release(block);
        for (Block& block : all[thread_index].given) release(block);
        mpmm_tcache_release();
    }
    thread_index = 0;
    counter.counts.operations = 2.0 * turns * threads;
    return counter.counts;
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"Counts what operations of 2 to 64 threads cost on cache lines that threads share."};
    unsigned turns = 4000;
    double tolerance = 1.1;
    app.add_option("--turns", turns, "of each thread, an allocation and a free each, after as many to warm up")->capture_default_str();
    app.add_option("--tolerance", tolerance, "how much a count may grow from 4 threads to 64")->capture_default_str();
    CLI11_PARSE(app, argc, argv);

    // Whatever the clock would start belongs to no operation.
    mpmm_set_option("purge", "0");
    bool flat = true;
    std::puts("| blocks are freed | threads | atomic operations | lines taken to write | lines taken to read |");
    std::puts("| --- | ---: | ---: | ---: | ---: |");
    const std::array names{"where they were made", "by the next thread", "by the next thread, one in ten"};
    for (const Pattern pattern : {Pattern::own, Pattern::passed, Pattern::mixed}) {
        Counts few;
        for (const unsigned threads : {2u, 4u, 8u, 16u, 32u, 64u}) {
            Counts counts = measure(pattern, threads, turns);
            for (double* count : {&counts.atomic, &counts.written, &counts.read}) *count /= counts.operations;
            std::printf("| %s | %u | %.4f | %.4f | %.4f |\n", names[static_cast<unsigned>(pattern)], threads, counts.atomic, counts.written,
                        counts.read);
            if (threads == 4) few = counts;
            // Beside two thousandths: a new block allocator costs lines that somebody had, the more surely the more threads there are.
            const auto grows = [&](double now, double then) { return now > then * tolerance + 0.002; };
            if (threads > 4 && (grows(counts.atomic, few.atomic) || grows(counts.written, few.written) || grows(counts.read, few.read))) {
                std::printf("more than with 4 threads\n");
                flat = false;
            }
        }
    }
    return flat ? 0 : 1;
}
