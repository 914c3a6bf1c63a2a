// SPDX-License-Identifier: Apache-2.0
// Real threads, on the system's memory: each does its operations of the program as fast as it can, and they pass blocks to each other through a
// few shared slots. Every block carries its own pattern, so that one handed out twice, or lost on the way, shows. How the threads meet is the
// machine's business: an input that fails may have to be replayed many times. fuzz_schedule is the target for inputs that fail always.
#include "harness/handoff_slots.hpp"
#include "harness/heap_target.hpp"
#include "harness/operation.hpp"
#include "harness/sizes.hpp"
#include "mpmm/mpmm.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <optional>
#include <thread>
#include <vector>

using namespace mpmm::fuzz;

const Shape mpmm::fuzz::shape = heap_inputs;

namespace {

constexpr std::size_t max_size = std::size_t{8} << 20, max_batch = 64;

class Threads {
  public:
    explicit Threads(const Program& program) : program_(program) {}

    void run() {
        std::optional<Failure> failures[thread_count];
        {
            std::vector<std::jthread> threads;
            for (unsigned number = 0; number < thread_count; ++number)
                threads.emplace_back([&, number] {
                    try {
                        thread(number);
                    } catch (const Failure& failure) {
                        failures[number] = failure;
                    }
                });
            started_ = true;
        }
        for (const auto& failure : failures)
            if (failure) throw *failure;
        finish();
    }

  private:
    void thread(unsigned number) {
        while (!started_.load(std::memory_order_acquire)) std::this_thread::yield();
        for (const Operation& operation : program_.operations)
            if (operation.thread == number) step(operation);
    }
    void step(const Operation& operation) {
        const std::size_t size = request_size(operation.size);
        const std::size_t bounded = impossible(size) || size <= max_size ? size : size % max_size;
        switch (operation.kind) {
            case Kind::malloc: put(operation, mpmm_malloc(bounded), bounded); break;
            case Kind::zalloc: put(operation, mpmm_zalloc(bounded), bounded, 1, true); break;
            case Kind::aligned: {
                const std::size_t alignment = request_alignment(operation.slot);
                if (alignment <= max_size) put(operation, mpmm_aligned_alloc(alignment, bounded), bounded, alignment);
                break;
            }
            case Kind::tcache_malloc: put(operation, mpmm_tcache_malloc(bounded), bounded, 1, false, true); break;
            case Kind::lcache_malloc: put(operation, mpmm_lcache_malloc(bounded), bounded); break;
            case Kind::malloc_batch: put_batch(operation, bounded); break;
            case Kind::free:
            case Kind::free_range:
            case Kind::free_sparse: give_back(slots_.take(operation.slot), operation.variant); break;
            case Kind::free_batch: free_batch(operation); break;
            case Kind::realloc: change(operation, bounded); break;
            case Kind::resize: resize(operation, bounded); break;
            case Kind::pairs: pairs(operation, bounded % 40'000); break;
            case Kind::tcache_flush: mpmm_tcache_flush(); break;
            case Kind::tcache_release: mpmm_tcache_release(); break;
            case Kind::tcache_init: expect(mpmm_tcache_init() == 0, "tcache_init failed"); break;
            case Kind::lcache_purge: mpmm_lcache_purge(); break;
            case Kind::purge: mpmm_purge(); break;
            case Kind::trim: mpmm_trim(size); break;
            case Kind::stats: {
                mpmm_stats stats{};
                stats.struct_size = sizeof stats;
                expect(mpmm_get_stats(&stats) == 0, "get_stats failed");
                break;
            }
            case Kind::walk: mpmm_heap_walk([](void*, std::size_t, void*) { return 0; }, nullptr); break;
            case Kind::verify: expect(mpmm_verify_heap() == 0, "verify: invariants are broken"); break;
            case Kind::find: mpmm_debugger_find(reinterpret_cast<const void*>(std::uintptr_t{operation.slot} << 16)); break;
            default: std::this_thread::yield(); break;
        }
    }

    /// Judges a block and hands it to whoever comes next; what was in its place is freed here.
    void put(const Operation& operation, void* block, std::size_t size, std::size_t alignment = 1, bool zeroed = false,
             bool may_fail = false) {
        if (block == nullptr) {
            expect(may_fail || impossible(size), "a request of ", size, " bytes was refused");
            return;
        }
        const std::size_t usable = mpmm_usable_size(block);
        expect(usable >= size, "too short: ", size, " bytes were asked for, the block has ", usable);
        expect(reinterpret_cast<std::uintptr_t>(block) % std::max(alignment, size >= 16 ? 16 : std::bit_floor(size | 1)) == 0,
               "misaligned: ", block);
        if (zeroed) Signature::check_zero(static_cast<const std::byte*>(block), size);
        give_back(slots_.put(operation.slot, static_cast<std::byte*>(block), size), operation.variant);
    }
    void put_batch(const Operation& operation, std::size_t size) {
        void* blocks[max_batch];
        const std::size_t count = 1 + operation.slot % max_batch, wanted = size * count > max_size ? 1 : count;
        const std::size_t got = mpmm_malloc_batch(size, wanted, blocks);
        expect(got == wanted || impossible(size), "malloc_batch was refused");
        Operation place = operation;
        for (std::size_t i = 0; i < got; ++i, ++place.slot) put(place, blocks[i], size);
    }
    static void give_back(const HandoffSlots::Held& held, unsigned how) {
        if (held.address == nullptr) return;
        held.check("when freed");
        switch (how % 3) {
            case 0: mpmm_free(held.address, held.size); break;
            case 1: mpmm_free_unsized(held.address); break;
            default: mpmm_tcache_free(held.address, held.size); break;
        }
    }
    void free_batch(const Operation& operation) {
        void* blocks[max_batch];
        std::size_t count = 0, size = 0;
        for (unsigned i = 0; i < 1 + operation.size % max_batch; ++i) {
            const auto held = slots_.take(operation.slot + i);
            if (held.address == nullptr) continue;
            if (count != 0 && held.size != size) {
                give_back(held, i);
                continue;
            }
            held.check("when freed");
            size = held.size;
            blocks[count++] = held.address;
        }
        mpmm_free_batch(size, count, blocks);
    }
    void change(const Operation& operation, std::size_t size) {
        const auto held = slots_.take(operation.slot);
        auto* const block = static_cast<std::byte*>(mpmm_realloc(held.address, held.size, size));
        if (block == nullptr) {
            expect(impossible(size), "realloc to ", size, " bytes was refused");
            give_back(held, operation.variant);
            return;
        }
        if (held.address != nullptr) Signature::check(block, held.size, size, held.seed, "after realloc");
        put(operation, block, size);
    }
    void resize(const Operation& operation, std::size_t size) {
        const auto held = slots_.take(operation.slot);
        if (held.address == nullptr) return;
        const bool changed = mpmm_resize(held.address, held.size, size) != 0;
        Signature::check(held.address, held.size, changed ? size : held.size, held.seed, "after resize");
        put(operation, held.address, changed ? size : held.size);
    }
    static void pairs(const Operation& operation, std::size_t size) {
        for (unsigned i = 0; i < operation.slot % 100u; ++i) {
            void* const block = mpmm_malloc(size);
            expect(block != nullptr, "a request of ", size, " bytes was refused");
            if (size != 0) *static_cast<unsigned char*>(block) = static_cast<unsigned char>(i);
            mpmm_free(block, size);
        }
    }

    /// All threads ended. What they left is apart; when it is freed the heap is empty.
    void finish() {
        slots_.check_apart();
        for (unsigned slot = 0; slot < HandoffSlots::count; ++slot) give_back(slots_.take(slot), slot);
        expect(mpmm_verify_heap() == 0, "verify: invariants are broken at the end");
        mpmm_tcache_flush();
        mpmm_stats stats{};
        stats.struct_size = sizeof stats;
        expect(mpmm_get_stats(&stats) == 0, "get_stats failed");
        expect(stats.used_blocks == 0, "stats: ", stats.used_blocks, " blocks are used after all were freed");
        expect(stats.thread_caches <= 1, "kept: ", stats.thread_caches, " thread caches without threads");
    }

    const Program& program_;
    HandoffSlots slots_;
    std::atomic<bool> started_{false};
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const Program program = decode({data, size});
    return judge([&] { Threads(program).run(); });
}
