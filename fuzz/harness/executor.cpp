// SPDX-License-Identifier: Apache-2.0
#include "harness/executor.hpp"

#include "harness/print.hpp"
#include "harness/sizes.hpp"
#include "harness/test_clock.hpp"

#include <bit>
#include <cerrno>
#include <ostream>

namespace mpmm::fuzz {

namespace {

/// More than any delay an operation sets: nothing that was due in one run is left to the next.
constexpr std::uint64_t between_runs_ms = 100'000;

void default_options() {
    mpmm_set_option("purge", "0");
    mpmm_set_option("decay_ms", "1");
    mpmm_set_option("cache_limit", "18446744073709551615");
}

/// Chunks of intrusive block allocators stay with the allocator, see block/slot_pool.hpp.
std::size_t intrusive_chunk_bytes() {
    std::size_t sum = 0;
    for (auto& pool : BuildHeap::shared.pools[1])
        pool.for_each_chunk([&](const auto& chunk) { sum += chunk.extent.chunks * mpmm_backend_chunk_size(); });
    return sum;
}

}  // namespace

void Executor::prepare(std::uint8_t flavour) {
    expect(backend_.install(), "the allocator refused the backend");
    flavour_ = Flavour::decode(flavour);
    backend_.start(flavour_);
    advance_clock(between_runs_ms);
    default_options();
    model_ = Model();
    persistent_.clear();
    forked_ = false;
    threads_.emplace();
    mpmm_stats stats{};
    stats.struct_size = sizeof stats;
    subject_.stats(stats);
    expect(stats.used_blocks == 0, "blocks were live before the run: ", stats.used_blocks);
    mapped_base_ = stats.mapped_bytes - backend_.outstanding();
    if (reports_ != nullptr) unreported_ = backend_.wrong_answers() - *reports_;
    backend_.refuse(first_refusal_.call, first_refusal_.after, first_refusal_.times);
}

std::optional<Failure> Executor::run(const Program& program, std::ostream* steps) {
    std::size_t number = 0;
    try {
        prepare(program.flavour);
        for (; number < program.operations.size(); ++number) {
            if (steps != nullptr) *steps << number << ": " << describe(program.operations[number], model_) << std::endl;
            step(program.operations[number]);
        }
        if (steps != nullptr) *steps << "end: everything is freed" << std::endl;
        finish();
        return std::nullopt;
    } catch (Failure& failure) {
        std::ostringstream text;
        if (number < program.operations.size()) text << "operation " << number << ", " << describe(program.operations[number]) << ": ";
        else text << "at the end: ";
        return Failure{text.str() + failure.message};
    }
}

void Executor::step(const Operation& operation) {
    if (!concurrent_) threads_->switch_to(operation.thread);
    mine().refused_before = backend_.refused_allocations();
    perform(operation);
    expect(backend_.misuse().empty(), backend_.misuse());
    if (reports_ == nullptr) return;
    expect(backend_.wrong_answers() - *reports_ == unreported_, "backend: wrong answers and reports of them differ by ",
           backend_.wrong_answers() - *reports_ - unreported_);
    expect(!backend_.keeps_wrong_memory(), "backend: memory that was not taken was not given back either");
}

void Executor::perform(const Operation& operation) {
    switch (operation.kind) {
#define X(name, ...) \
    case Kind::name: do_##name(operation); break;
        MPMM_FUZZ_KINDS(X)
#undef X
        default: break;
    }
}

void Executor::finish() {
    backend_.refuse_nothing();
    default_options();
    checked_stats();
    check_walk();
    for (const auto& [address, size, seed] : persistent_) Signature::check(address, size, size, seed, "persistent, at the end");
    while (!model_.empty()) {
        threads_->switch_to(static_cast<unsigned>(model_.size() / 8 % thread_count));
        const Model::Block block = model_.remove(model_.size() - 1);
        call([&] { subject_.free(block.address, block.size); });
        expect_errno_kept("free");
    }
    threads_->end_all();
    expect(subject_.verify() == 0, "the heap does not verify after everything was freed");
    // What goes back to the backend need not be purged before.
    backend_.refuse(TestBackend::Call::purge, 0, ~0u);
    mpmm_trim(0);
    if constexpr (BuildVerify::enabled) {
        // What waited in the quarantine was freed just now, by a thread that has a cache again for it.
        threads_->end_all();
        mpmm_trim(0);
    }
    expect(backend_.misuse().empty(), backend_.misuse());
    const mpmm_stats stats = checked_stats();
    expect(stats.cached_bytes == 0, "kept: the large cache has ", stats.cached_bytes, " bytes after a trim to nothing");
    expect(stats.block_allocators == 0, "kept: ", stats.block_allocators, " block allocators without blocks");
    expect(stats.thread_caches <= 1, "kept: ", stats.thread_caches, " thread caches without threads");
    expect(backend_.chunk_bytes() <= intrusive_chunk_bytes(), "kept: ", backend_.chunk_bytes(),
           " bytes of chunks were not given back to the backend");
    expect(subject_.verify() == 0, "the heap does not verify after the end");
    threads_.reset();
    backend_.finish();
}

// ---- checks ----

void Executor::expect_errno_kept(const char* what) const {
    expect(mine().errno_after == no_errno, what, " changed errno to ", mine().errno_after);
}

void Executor::expect_refusal(std::size_t size, const char* what) const {
    expect(impossible(size) || backend_refused(), what, " of ", size, " bytes returned NULL, but there was memory");
    expect(mine().errno_after == ENOMEM, what, " returned NULL with errno ", mine().errno_after);
}

void Executor::check_block(void* block, const Wanted& wanted, const char* what) {
    const auto address = reinterpret_cast<std::uintptr_t>(block);
    const std::size_t size = wanted.size;
    const auto aligned_to = [&](std::size_t alignment, const char* why) {
        expect(address % alignment == 0, "misaligned: ", what, " of ", size, " bytes gave ", block, ", not aligned to ", alignment, " (",
               why, ")");
    };
    const std::size_t usable = subject_.usable_size(block);
    expect(usable >= size, "too short: ", what, " of ", size, " bytes gave a block of ", usable);
    aligned_to(size >= 16 ? 16 : std::bit_floor(size | 1), "every block");
    if (wanted.alignment > 1) aligned_to(wanted.alignment, "asked for");
    if (!wanted.of_class) return;
    if (std::has_single_bit(size) && size <= mpmm_backend_page_size()) aligned_to(size, "power of two");
    aligned_to(mpmm_good_alignment(size), "good alignment");
    const std::size_t rounded = subject_.round_size(size);
    // A big block may be one of a larger class.
    const std::size_t chunk = mpmm_backend_chunk_size();
    const bool lent =
        rounded > chunk / 64 && usable > rounded && usable / 2 < rounded && usable <= chunk / 2 && subject_.round_size(usable) == usable;
    expect(usable == rounded || lent, "size: ", what, " of ", size, " bytes has ", usable, " usable, but round_size() says ", rounded);
    expect(subject_.round_size(rounded) == rounded, "size: round_size(", size, ") is ", rounded, ", and of that ",
           subject_.round_size(rounded));
}

void Executor::obtained(void* block, const Wanted& wanted, const char* what) {
    if (block == nullptr) {
        expect_refusal(wanted.size, what);
        return;
    }
    expect_errno_kept(what);
    expect(!impossible(wanted.size), what, " of ", wanted.size, " bytes gave a block");
    check_block(block, wanted, what);
    if (wanted.zeroed) Signature::check_zero(static_cast<const std::byte*>(block), wanted.size);
    model_.add(block, wanted.size, subject_.usable_size(block));
}

/// Large blocks are few, or runs would only copy memory.
std::size_t Executor::bounded_size(std::uint16_t selector) const {
    const std::size_t size = request_size(selector), room = std::size_t{64} << 20;
    if (impossible(size) || model_.used_bytes() + size <= 3 * room) return size;
    return size % 4096;
}

void Executor::give_back(const Model::Block& block, unsigned how, std::size_t other_size) {
    call([&] {
        switch (how % 5) {
            case 0: subject_.free(block.address, block.size); break;
            // Release takes any size up to the rounded one, verify the requested one only.
            case 1: subject_.free(block.address, BuildVerify::enabled ? block.size : other_size % (block.usable + 1)); break;
            case 2: subject_.free_unsized(block.address); break;
            case 3: subject_.tcache_free(block.address, block.size); break;
            default: subject_.lcache_free(block.address, block.size); break;
        }
    });
    expect_errno_kept("free");
}

}  // namespace mpmm::fuzz
