// SPDX-License-Identifier: Apache-2.0
// The operations that make, change and free blocks.
#include "harness/executor.hpp"
#include "harness/sizes.hpp"

#ifdef MPMM_VERIFY_BUILD
#include "verify/guarded.hpp"
#endif

#include <algorithm>
#include <cerrno>

namespace mpmm::fuzz {

namespace {

constexpr std::size_t max_batch_bytes = std::size_t{1} << 20;

/// How often: mostly a few times, now and then often enough to fill a whole block allocator.
unsigned repetitions(std::uint16_t number) { return 1 + number / 8 % (number % 8 == 0 ? 600u : 40u); }

/// Guarded blocks, and those aligned to chunks: they lie in large ones, which the backend may refuse to shrink.
bool not_of_a_class(const std::byte* block) {
#ifdef MPMM_VERIFY_BUILD
    if (guarded::contains(block)) return true;
#endif
    return reinterpret_cast<std::uintptr_t>(block) % mpmm_backend_chunk_size() == 0;
}

}  // namespace

std::size_t Executor::zeroed_size(std::size_t size) const { return impossible(size) || size <= max_written_ ? size : size % max_written_; }

void Executor::do_malloc(const Operation& operation) {
    if (full()) return;
    const std::size_t size = bounded_size(operation.size);
    obtained(call([&] { return subject_.malloc(size); }), {.size = size, .of_class = true}, "malloc");
}

void Executor::do_zalloc(const Operation& operation) {
    if (full()) return;
    std::size_t size = zeroed_size(bounded_size(operation.size));
    // calloc: an element size and a count. A product that does not fit is the caller's business, as it is calloc's.
    if (operation.variant % 2 != 0 && size <= max_written_ / 16) size *= operation.slot % 17;
    obtained(call([&] { return subject_.zalloc(size); }), {.size = size, .zeroed = true, .of_class = true}, "zalloc");
}

void Executor::do_aligned(const Operation& operation) {
    if (full()) return;
    const bool zeroed = operation.variant % 2 != 0;
    const std::size_t alignment = request_alignment(operation.slot);
    const std::size_t size = zeroed ? zeroed_size(bounded_size(operation.size)) : bounded_size(operation.size);
    void* const block = call([&] { return zeroed ? subject_.aligned_zeroed(alignment, size) : subject_.aligned(alignment, size); });
    obtained(block, {.size = size, .alignment = alignment, .zeroed = zeroed}, "aligned_alloc");
}

void Executor::do_malloc_batch(const Operation& operation) {
    if (full()) return;
    const std::size_t size = request_size(operation.size);
    const std::size_t most = std::max<std::size_t>(1, max_batch_bytes / std::max<std::size_t>(size, 1));
    const std::size_t count = std::min<std::size_t>({repetitions(operation.slot), most, max_blocks - model_.size()});
    std::vector<void*> blocks(count, nullptr);
    const std::size_t got = call([&] { return subject_.malloc_batch(size, count, blocks.data()); });
    expect(got <= count, "malloc_batch of ", count, " says it got ", got);
    if (got < count) expect_refusal(size, "malloc_batch");
    else expect_errno_kept("malloc_batch");
    for (std::size_t i = 0; i < got; ++i) {
        check_block(blocks[i], {.size = size, .of_class = true}, "malloc_batch");
        model_.add(blocks[i], size, subject_.usable_size(blocks[i]));
    }
}

void Executor::do_free(const Operation& operation) {
    if (model_.empty()) {
        // Freeing nothing is allowed.
        call([&] { subject_.free(nullptr, operation.size); });
        expect_errno_kept("free of NULL");
        return;
    }
    give_back(model_.remove(model_.slot(operation.slot)), operation.variant, operation.size);
}

void Executor::do_free_range(const Operation& operation) {
    if (model_.empty()) return;
    const std::size_t first = model_.slot(operation.slot), end = std::min<std::size_t>(model_.size(), first + repetitions(operation.size));
    std::vector<Model::Block> blocks;
    // From behind, because the last slot moves into the place of one that goes.
    for (std::size_t slot = end; slot-- > first;) blocks.push_back(model_.remove(slot));
    give_back_all(blocks, operation);
}

void Executor::do_free_sparse(const Operation& operation) {
    if (model_.empty()) return;
    const std::size_t step = 2 + operation.size % 15u;
    std::vector<Model::Block> blocks;
    for (std::size_t slot = model_.slot(operation.slot) + 1; slot > step; slot -= step) blocks.push_back(model_.remove(slot - 1));
    give_back_all(blocks, operation);
}

void Executor::give_back_all(const std::vector<Model::Block>& blocks, const Operation& operation) {
    for (const Model::Block& block : blocks) give_back(block, operation.variant, operation.size);
}

void Executor::do_free_batch(const Operation& operation) {
    if (model_.empty()) return;
    const std::size_t first = model_.slot(operation.slot), size = model_[first].size;
    std::vector<void*> blocks;
    for (std::size_t slot = std::min<std::size_t>(model_.size(), first + repetitions(operation.size)); slot-- > first;)
        if (model_[slot].size == size) blocks.push_back(model_.remove(slot).address);
    call([&] { subject_.free_batch(size, blocks.size(), blocks.data()); });
    expect_errno_kept("free_batch");
}

void Executor::do_realloc(const Operation& operation) {
    std::size_t size = bounded_size(operation.size);
    if (model_.empty() || operation.variant % 16 == 15) {
        if (full()) return;
        obtained(call([&] { return subject_.realloc(nullptr, 0, size); }), {.size = size, .of_class = true}, "realloc of NULL");
        return;
    }
    const Model::Block old = model_.take_out(model_.slot(operation.slot));
    if (!impossible(size) && std::min(old.size, size) > max_written_) size %= max_written_;
    void* const block = call([&] { return subject_.realloc(old.address, old.size, size); });
    if (block == nullptr) {
        expect_refusal(size, "realloc");
        expect(subject_.usable_size(old.address) == old.usable, "a failed realloc changed the block's size");
        Model::check(old, "after a failed realloc");
        model_.put_in(old);
        return;
    }
    expect_errno_kept("realloc");
    expect(!impossible(size), "realloc to ", size, " bytes gave a block");
    check_block(block, {.size = size}, "realloc");
    model_.changed(old, block, size, subject_.usable_size(block));
}

void Executor::do_resize(const Operation& operation) {
    if (model_.empty()) return;
    const std::size_t size = bounded_size(operation.size);
    const Model::Block old = model_.take_out(model_.slot(operation.slot));
    if (call([&] { return subject_.resize(old.address, old.size, size); }) == 0) {
        expect(subject_.usable_size(old.address) == old.usable, "a failed resize changed the block's size");
        expect(size > old.usable || old.usable > mpmm_backend_chunk_size() / 2 || not_of_a_class(old.address), "resize from ", old.usable,
               " to ", size, " bytes failed");
        Model::check(old, "after a failed resize");
        model_.put_in(old);
        return;
    }
    expect_errno_kept("resize");
    const std::size_t usable = subject_.usable_size(old.address);
    expect(!impossible(size) && usable >= size, "too short: resize to ", size, " bytes left ", usable);
    model_.changed(old, old.address, size, usable);
}

void Executor::do_pairs(const Operation& operation) {
    const std::size_t size = request_size(operation.size) % 40000;
    const unsigned count = repetitions(operation.slot);
    for (unsigned i = 0; i < count; ++i) {
        auto* const block = static_cast<std::byte*>(call([&] { return subject_.malloc(size); }));
        if (block == nullptr) {
            expect_refusal(size, "malloc");
            return;
        }
        if (i < 2) expect(!model_.covers(block), "overlap: malloc gave ", block, " which is in use");
        if (size != 0) block[0] = block[size - 1] = static_cast<std::byte>(i);
        subject_.free(block, size);
    }
}

void Executor::do_tcache_malloc(const Operation& operation) {
    if (full()) return;
    const std::size_t size = bounded_size(operation.size);
    void* const block = call([&] { return subject_.tcache_malloc(size); });
    if (block != nullptr) obtained(block, {.size = size, .of_class = true}, "tcache_malloc");
    else expect(mine().errno_after == ENOMEM, "tcache_malloc returned NULL with errno ", mine().errno_after);
}

void Executor::do_lcache_malloc(const Operation& operation) {
    if (full()) return;
    const std::size_t size = bounded_size(operation.size);
    void* const block = call([&] { return subject_.lcache_malloc(size); });
    obtained(block, {.size = size, .alignment = mpmm_backend_chunk_size()}, "lcache_malloc");
}

}  // namespace mpmm::fuzz
