// SPDX-License-Identifier: Apache-2.0
// The operations that look into the heap and compare it with the model.
#include "harness/executor.hpp"

#ifdef MPMM_VERIFY_BUILD
#include "verify/guarded.hpp"
#endif

#include <algorithm>
#include <cstring>

namespace mpmm::fuzz {

namespace {

/// Part of the used bytes that does not come from the backend.
std::size_t guarded_bytes() {
#ifdef MPMM_VERIFY_BUILD
    return guarded::live().bytes;
#else
    return 0;
#endif
}

}  // namespace

/// Frees that other threads still combine are no frees yet for who counts.
void Executor::flush_all() {
    if (concurrent_) return;
    threads_->for_each([] { mpmm_tcache_flush(); });
}

mpmm_stats Executor::checked_stats() {
    flush_all();
    mpmm_stats stats{};
    stats.struct_size = sizeof stats;
    expect(call([&] { return subject_.stats(stats); }) == 0, "get_stats failed");
    // While other threads are in the middle of something only that can be told.
    if (concurrent_) return stats;
    expect(stats.used_blocks == model_.size(), "stats: ", stats.used_blocks, " used blocks, but ", model_.size(), " are live");
    expect(stats.used_bytes == model_.used_bytes(), "stats: ", stats.used_bytes, " used bytes, but ", model_.used_bytes(), " are live");
    expect(stats.large_bytes <= stats.used_bytes, "stats: more large bytes than used ones");
    expect(stats.mapped_bytes <= stats.peak_mapped, "stats: more is mapped than ever was");
    // Blocks keep at least their pages' addresses mapped; of chunks and runs not all is counted, and of guarded blocks nothing.
    expect(stats.used_bytes - guarded_bytes() + stats.cached_bytes <= stats.mapped_bytes, "stats: ", stats.used_bytes, " used and ",
           stats.cached_bytes, " cached bytes, but only ", stats.mapped_bytes, " mapped");
    if (exact())
        expect(stats.mapped_bytes - backend_.outstanding() == mapped_base_, "stats: ", stats.mapped_bytes - mapped_base_,
               " bytes mapped, but the backend has given ", backend_.outstanding());
    return stats;
}

void Executor::do_stats(const Operation& operation) {
    checked_stats();
    if (operation.variant % 2 == 0) return;
    // A caller of an older version gives a shorter struct: nothing behind it may be written.
    mpmm_stats stats;
    std::memset(&stats, 0x5A, sizeof stats);
    const std::size_t size = sizeof(std::size_t) * (1 + operation.size % (sizeof stats / sizeof(std::size_t)));
    stats.struct_size = size;
    expect(subject_.stats(stats) == 0, "get_stats failed");
    const auto* const bytes = reinterpret_cast<const unsigned char*>(&stats);
    for (std::size_t i = size; i < sizeof stats; ++i) expect(bytes[i] == 0x5A, "stats: byte ", i, " was written behind a struct of ", size);
}

namespace {

struct Walked {
    std::vector<std::pair<void*, std::size_t>> blocks;
    std::size_t stop_after = ~std::size_t{0};

    static int visit(void* block, std::size_t usable, void* self) {
        const races::Unwatched unwatched;
        auto& walked = *static_cast<Walked*>(self);
        walked.blocks.emplace_back(block, usable);
        return walked.blocks.size() >= walked.stop_after ? 42 : 0;
    }
};

}  // namespace

void Executor::check_walk() {
    flush_all();
    Walked walked;
    walked.blocks.reserve(model_.size() + 1);
    expect(call([&] { return subject_.walk(&Walked::visit, &walked); }) == 0, "walk: stopped by itself");
    if (concurrent_) return;
    for (const auto& [block, usable] : walked.blocks) {
        const Model::Block* const known = model_.find(block);
        expect(known != nullptr, "walk: shows ", block, ", which is not live");
        expect(known->usable == usable, "walk: shows ", block, " with ", usable, " bytes, not ", known->usable);
    }
    std::sort(walked.blocks.begin(), walked.blocks.end());
    const auto twice = std::adjacent_find(walked.blocks.begin(), walked.blocks.end());
    expect(twice == walked.blocks.end(), "walk: shows a block twice");
    expect(walked.blocks.size() == model_.size(), "walk: shows ", walked.blocks.size(), " of ", model_.size(), " blocks");
}

void Executor::do_walk(const Operation& operation) {
    check_walk();
    if (operation.variant % 2 == 0 || model_.empty()) return;
    Walked some;
    some.stop_after = 1 + model_.slot(operation.slot);
    const int stopped = subject_.walk(&Walked::visit, &some);
    if (concurrent_) return;
    expect(stopped == 42, "walk: did not return what its callback returned");
    expect(some.blocks.size() == some.stop_after, "walk: went on after its callback said stop");
}

void Executor::do_verify(const Operation&) {
    const std::size_t broken = call([&] { return subject_.verify(); });
    expect(broken == 0, "verify: ", broken, " invariants are broken");
}

void Executor::do_find(const Operation& operation) {
    const auto foreign = subject_.find(&operation);
    expect(foreign.kind == MPMM_ADDRESS_FOREIGN, "find: the stack is said to be memory of kind ", static_cast<int>(foreign.kind));
    expect(subject_.find(nullptr).kind == MPMM_ADDRESS_FOREIGN, "find: NULL is said to be memory");
    if (model_.empty()) return;
    if (concurrent_) {
        // Nobody has handed this block to the calling thread, and it may go away meanwhile: that there is an answer is all.
        subject_.find(model_[model_.slot(operation.slot)].address + operation.size);
        return;
    }
    flush_all();
    const Model::Block& block = model_[model_.slot(operation.slot)];
    const std::size_t offset = operation.size % std::max<std::size_t>(block.usable, 1);
    const auto info = subject_.find(block.address + offset);
    expect(info.kind == MPMM_ADDRESS_LIVE && info.block == block.address && info.usable_size == block.usable && info.offset == offset,
           "find: byte ", offset, " of the live block at ", static_cast<void*>(block.address), " is said to be of kind ",
           static_cast<int>(info.kind), ", byte ", info.offset, " of ", info.block, " with ", info.usable_size, " bytes");
    if (offset != 0) expect(subject_.usable_size(block.address + offset) == 0, "find: an address inside a block has a usable size");
    // Behind the block there is a neighbour, live or not, or the allocator's own memory; a block of no bytes is found by its address.
    const auto behind = subject_.find(block.address + block.usable);
    const bool live = model_.covers(block.address + block.usable);
    expect(live == (behind.kind == MPMM_ADDRESS_LIVE), "find: what follows the block at ", static_cast<void*>(block.address),
           " is said to be of kind ", static_cast<int>(behind.kind));
}

void Executor::do_check(const Operation&) { model_.check_all("when checked"); }

}  // namespace mpmm::fuzz
