// SPDX-License-Identifier: Apache-2.0
// The large cache against a list of intervals: what is handed out and what is free never overlap, neighbours are one run, bytes add up,
// contents stay, what should be zero is, and what the backend refuses changes nothing. On the system's memory, and on a backend that keeps
// old contents, cannot purge or resize, or refuses for a while.
#include "largecache/large_cache.hpp"
#include "arena.hpp"
#include "heap/config.hpp"
#include "pages.hpp"

#include "harness/test_clock.hpp"

#include <gtest/gtest.h>
#include <map>
#include <memory>
#include <ostream>
#include <rapidcheck.h>
#include <vector>

namespace mpmm {
namespace {

using test::Arena;

/// Short chunks: long blocks are affordable then.
using C = Config<Geometry<4096, 16>, BuildVerify, 8>;
using G = C::Geometry;
using Entries = TenantEntries<G>;

constexpr std::uint64_t delay = 1000;

enum class Kind : unsigned { allocate, free, resize, move, take, give, purge, purge_all, trim, time, refuse };
constexpr const char* names[] = {"allocate", "free", "resize", "move", "take", "give", "purge", "purge all", "trim", "time", "refuse"};

/// The numbers mean what the operation makes of them; `which` is taken modulo the number of blocks.
struct Step {
    Kind kind = Kind::allocate;
    unsigned which = 0, chunks = 0, pages = 0, extra = 0;

    std::size_t size() const { return chunks * G::chunk + pages * G::page + (extra & 1); }
    std::size_t alignment() const { return extra < 12 ? 1 : G::chunk << (extra - 12); }
    bool zero() const { return (extra & 2) != 0; }
};
std::ostream& operator<<(std::ostream& out, const Step& step) {
    return out << names[static_cast<unsigned>(step.kind)] << " which " << step.which << " chunks " << step.chunks << " pages " << step.pages
               << " extra " << step.extra;
}

rc::Gen<std::vector<Step>> steps() {
    using enum Kind;
    const auto kind = rc::gen::element(allocate, allocate, allocate, allocate, free, free, free, resize, resize, move, take, take, give,
                                       give, purge, purge, purge_all, trim, time, time, refuse);
    const auto chunks = rc::gen::oneOf(rc::gen::inRange(0u, 4u), rc::gen::inRange(0u, 8u), rc::gen::inRange(0u, 45u));
    const auto pages = rc::gen::oneOf(rc::gen::just(0u), rc::gen::inRange(0u, static_cast<unsigned>(G::map_bits)));
    return rc::gen::container<std::vector<Step>>(rc::gen::build<Step>(
        rc::gen::set(&Step::kind, kind), rc::gen::set(&Step::which, rc::gen::inRange(0u, 64u)), rc::gen::set(&Step::chunks, chunks),
        rc::gen::set(&Step::pages, pages), rc::gen::set(&Step::extra, rc::gen::inRange(0u, 16u))));
}

/// A block, or chunks that were taken.
struct Block {
    std::byte* base = nullptr;
    std::size_t size = 0, chunks = 0;
    bool huge = false, taken = false;
    bool fresh = false;  ///< in one mapping: nothing of it was free before
    Extent extent;
    std::byte stamp{};  ///< 0: nothing was written

    std::size_t mapped() const { return huge ? size : chunks * G::chunk; }
};

class Machine {
  public:
    /// Without an arena the memory is the system's.
    explicit Machine(Arena* arena) : arena_(arena) {
        if (arena_ != nullptr) backend_.use(arena_->callbacks());
    }

    void step(const Step& step) {
        switch (step.kind) {
            case Kind::allocate: allocate(step); break;
            case Kind::take: take(step); break;
            case Kind::free: with_one(step, false, [&](Block& block) { free(block); }); break;
            case Kind::give: with_one(step, true, [&](Block& block) { free(block); }); break;
            case Kind::resize: with_one(step, false, [&](Block& block) { resize(block, step.size()); }); break;
            case Kind::move: with_one(step, false, [&](Block& block) { move(block, step.size()); }); break;
            case Kind::purge: purge(); break;
            case Kind::purge_all: purge_all(); break;
            case Kind::trim: trim(step.chunks * G::chunk + step.pages * G::page); break;
            case Kind::time: fuzz::advance_clock(step.which * delay / 32 + step.chunks * delay / 4); break;
            case Kind::refuse:
                if (arena_ != nullptr) arena_->refuse(step.which % Arena::call_count, step.extra % 4 + 1);
                break;
        }
        compare();
    }
    /// Everything comes back.
    void finish() {
        if (arena_ != nullptr) arena_->refuse_nothing();
        while (!blocks_.empty()) {
            free(blocks_.back());
            blocks_.pop_back();
        }
        compare();
        large_->trim(0);
        RC_ASSERT(large_->cached_bytes() == 0u);
        RC_ASSERT(backend_.mapped() == lost_);
    }

  private:
    struct Free {
        Extent extent;
        std::uint64_t since;

        std::size_t bytes() const { return extent.chunks * G::chunk; }
    };
    using FreeRuns = std::map<std::byte*, Free>;

    template <class Do>
    void with_one(const Step& step, bool taken, Do todo) {
        std::vector<std::size_t> candidates;
        for (std::size_t i = 0; i < blocks_.size(); ++i)
            if (blocks_[i].taken == taken) candidates.push_back(i);
        if (candidates.empty()) return;
        const std::size_t chosen = candidates[step.which % candidates.size()];
        todo(blocks_[chosen]);
        if (blocks_[chosen].base == nullptr) blocks_.erase(blocks_.begin() + static_cast<std::ptrdiff_t>(chosen));
    }
    unsigned refusals() const { return arena_ == nullptr ? 0 : arena_->refusals(); }

    static std::size_t whole_pages(std::size_t size) { return align_up(size == 0 ? 1 : size, G::page); }
    static std::size_t whole_chunks(std::size_t size) { return (whole_pages(size) + G::chunk - 1) / G::chunk; }
    void stamp(Block& block) {
        block.stamp = std::byte{static_cast<unsigned char>(stamps_++ % 255 + 1)};
        test::for_some_bytes(block.base, block.size, [&](std::byte& byte) { byte = block.stamp; });
    }
    /// Of what was written, the part that is kept.
    static void expect_content(const Block& block, std::size_t kept) {
        if (block.stamp == std::byte{0}) return;
        test::for_some_bytes(block.base, block.size, [&](const std::byte& byte) {
            if (&byte < block.base + kept) RC_ASSERT(byte == block.stamp);
        });
    }
    static void expect_zero(std::byte* memory, std::size_t size) {
        test::for_some_bytes(memory, size, [&](std::byte byte) { RC_ASSERT(byte == std::byte{0}); });
    }
    Run& run_of(const Block& block) const {
        const auto entry = map_->find(block.base);
        RC_ASSERT(Entries::is_whole(entry));
        return *static_cast<Run*>(Entries::template tenant<tenant_alignment>(entry, block.base));
    }

    void allocate(const Step& step) {
        const unsigned before = refusals();
        Block block;
        block.fresh = large_->cached_bytes() == 0;
        block.base = static_cast<std::byte*>(large_->allocate(step.size(), step.alignment(), step.zero()));
        if (block.base == nullptr) {
            RC_ASSERT(refusals() != before);
            return;
        }
        RC_ASSERT(reinterpret_cast<std::uintptr_t>(block.base) % std::max(G::chunk, step.alignment()) == 0u);
        block.size = whole_pages(step.size());
        block.chunks = whole_chunks(step.size());
        block.huge = run_of(block).huge;
        if (step.zero()) expect_zero(block.base, step.size());
        stamp(block);
        blocks_.push_back(block);
    }
    void take(const Step& step) {
        const unsigned before = refusals();
        Block block;
        block.taken = true;
        block.chunks = step.chunks + 1;
        block.size = block.chunks * G::chunk;
        if (!large_->take(block.chunks, block.extent)) {
            RC_ASSERT(refusals() != before);
            return;
        }
        block.base = block.extent.base;
        RC_ASSERT(block.extent.chunks == block.chunks);
        RC_ASSERT(is_aligned(reinterpret_cast<std::uintptr_t>(block.base), G::chunk));
        if (large_->reads_zero(block.extent)) expect_zero(block.base, block.size);
        // Some are given back as they came: untouched.
        if (!step.zero()) stamp(block);
        blocks_.push_back(block);
    }
    void free(Block& block) {
        expect_content(block, block.size);
        for (std::size_t i = 0; i < block.chunks; ++i) freed_at_[block.base + i * G::chunk] = os::now_ms();
        const unsigned before = refusals();
        if (block.taken) {
            block.extent.clean = block.extent.clean && block.stamp == std::byte{0};
            large_->give(block.extent);
        } else {
            RC_ASSERT(large_->free(run_of(block), block.base) == block.size);
            RC_ASSERT(large_->freed_lately(block.base));
            // The cache keeps whole chunks of what the backend did not want back.
            if (block.huge && refusals() != before) lost_ += block.size % G::chunk;
        }
        block.base = nullptr;
    }
    void resize(Block& block, std::size_t size) {
        const unsigned before = refusals();
        const bool resized = large_->resize(run_of(block), size);
        const std::size_t chunks = whole_chunks(size);
        if (!block.huge) RC_ASSERT(resized == (chunks <= block.chunks));
        else if (arena_ != nullptr) RC_ASSERT(resized == (refusals() == before));
        if (resized) changed(block, size);
        else expect_content(block, block.size);
    }
    void move(Block& block, std::size_t size) {
        if (size <= block.size) return;
        auto* const to = static_cast<std::byte*>(large_->grow_by_moving(run_of(block), size));
        // The kernel moves what is one mapping.
        RC_ASSERT((to == nullptr || arena_ == nullptr));
        RC_ASSERT((to != nullptr || arena_ != nullptr || !block.fresh));
        if (to == nullptr) return expect_content(block, block.size);
        RC_ASSERT(is_aligned(reinterpret_cast<std::uintptr_t>(to), G::chunk));
        block.base = to;
        block.fresh = true;
        changed(block, size);
    }
    void changed(Block& block, std::size_t size) {
        expect_content(block, std::min(block.size, whole_pages(size)));
        for (std::size_t i = whole_chunks(size); i < block.chunks; ++i) freed_at_[block.base + i * G::chunk] = os::now_ms();
        block.size = whole_pages(size);
        block.chunks = whole_chunks(size);
        block.huge = run_of(block).huge;
        stamp(block);
    }
    /// Never too early, never forgotten: what lay there for the delay is purged, and what lay purged for eight of them is given back.
    void purge() {
        const FreeRuns before = free_runs();
        const unsigned refused = refusals();
        const std::size_t counted = backend_.purged(), purged = large_->purge(os::now_ms(), delay);
        const FreeRuns after = free_runs();
        std::size_t expected = 0;
        for (const auto& [base, free] : before) {
            const auto now = after.find(base);
            const std::uint64_t age = os::now_ms() - free.since;
            if (age < delay) RC_ASSERT(now != after.end() && now->second.extent.clean == free.extent.clean);
            else if (!free.extent.clean && now != after.end() && now->second.extent.clean) {
                expected += free.bytes();
                RC_ASSERT(now->second.since == os::now_ms());
            }
            if (refusals() != refused) continue;
            if (age >= delay && now != after.end()) RC_ASSERT(now->second.extent.clean);
            if (age >= 8 * delay && free.extent.clean) RC_ASSERT(now == after.end());
        }
        RC_ASSERT(purged == expected);
        RC_ASSERT(backend_.purged() - counted == purged);
    }
    void purge_all() {
        const unsigned refused = refusals();
        const std::size_t dirty = dirty_bytes(), counted = backend_.purged(), cached = large_->cached_bytes();
        const std::size_t purged = large_->purge(os::now_ms(), 0);
        RC_ASSERT(purged == dirty - dirty_bytes());
        RC_ASSERT(backend_.purged() - counted == purged);
        RC_ASSERT(large_->cached_bytes() == cached);
        if (refusals() == refused) RC_ASSERT(dirty_bytes() == 0u);
    }
    void trim(std::size_t keep) {
        const unsigned refused = refusals();
        const std::size_t before = large_->cached_bytes(), released = large_->trim(keep), after = large_->cached_bytes();
        RC_ASSERT(before - after == released);
        RC_ASSERT(after >= std::min(before, keep));
        if (refusals() == refused) RC_ASSERT(after < keep + G::chunk || before <= keep);
    }

    FreeRuns free_runs() const {
        FreeRuns runs;
        const std::size_t cached =
            large_->for_each_free([&](Run& run) { RC_ASSERT(runs.emplace(run.extent.base, Free{run.extent, run.since}).second); });
        std::size_t bytes = 0;
        for (const auto& [base, free] : runs) bytes += free.bytes();
        RC_ASSERT(bytes == cached);
        return runs;
    }
    std::size_t dirty_bytes() const {
        std::size_t bytes = 0;
        for (const auto& [base, free] : free_runs())
            if (!free.extent.clean) bytes += free.bytes();
        return bytes;
    }
    void compare() {
        const FreeRuns runs = free_runs();
        std::map<std::byte*, std::byte*> taken;
        std::size_t bytes = 0, mapped = 0, count = 0;
        for (const Block& block : blocks_) {
            taken[block.base] = block.base + block.mapped();
            mapped += block.mapped();
            for (std::size_t i = 0; i < block.chunks; ++i) freed_at_.erase(block.base + i * G::chunk);
            if (block.taken) continue;
            bytes += block.size;
            ++count;
            const Run& run = run_of(block);
            RC_ASSERT(run.owner() == Owner(OwnerState::large_used));
            RC_ASSERT((run.extent.base == block.base));
            RC_ASSERT(run.extent.chunks == block.chunks);
            RC_ASSERT(run.size == block.size);
        }
        RC_ASSERT(large_->used_bytes() == bytes);
        RC_ASSERT(large_->used_blocks() == count);
        RC_ASSERT(backend_.mapped() == mapped + large_->cached_bytes() + lost_);
        RC_ASSERT(taken.size() == blocks_.size());
        std::byte *last = nullptr, *behind = nullptr;
        for (const auto& [base, free] : runs) {
            RC_ASSERT(taken.emplace(base, base + free.bytes()).second);
            expect_free(free);
            // Neighbours are one run, but for those of two allocations that must not be given back together.
            if (base == behind) RC_ASSERT((arena_ != nullptr && !arena_->holds(last, static_cast<std::size_t>(base + 1 - last))));
            last = base;
            behind = base + free.bytes();
        }
        std::byte* end = nullptr;
        for (const auto& [from, to] : taken) {
            RC_ASSERT((from >= end));
            end = to;
        }
        if (arena_ != nullptr) RC_ASSERT(arena_->misuse().empty());
    }
    void expect_free(const Free& free) const {
        for (std::byte* const at : {free.extent.base, free.extent.base + free.bytes() - G::chunk}) {
            const auto entry = map_->find(at);
            RC_ASSERT(Entries::is_whole(entry));
            Tenant* const tenant = Entries::template tenant<tenant_alignment>(entry, at);
            RC_ASSERT(tenant->owner() == Owner(OwnerState::large_free));
            RC_ASSERT((static_cast<Run*>(tenant)->extent.base == free.extent.base));
        }
        for (std::size_t i = 0; i < free.extent.chunks; ++i)
            if (const auto freed = freed_at_.find(free.extent.base + i * G::chunk); freed != freed_at_.end())
                RC_ASSERT(free.since >= freed->second);
        if (large_->reads_zero(free.extent)) expect_zero(free.extent.base, free.bytes());
        if (arena_ != nullptr) RC_ASSERT(arena_->holds(free.extent.base, free.bytes()));
    }

    Arena* arena_;
    Backend backend_;
    test::Pages pages_;
    Persistent<G> memory_{pages_.backend};
    std::unique_ptr<TenantMap<G>> map_ = std::make_unique<TenantMap<G>>(memory_);
    std::unique_ptr<LargeCache<C>> large_ = std::make_unique<LargeCache<C>>(backend_, memory_, *map_);
    std::vector<Block> blocks_;
    std::map<std::byte*, std::uint64_t> freed_at_;  ///< of every chunk that was freed and not handed out since
    std::size_t lost_ = 0;
    unsigned stamps_ = 0;
};

/// First: the arena's memory is there whatever the cache does with it, so that what goes wrong can be shrunk.
TEST(LargeCacheProperty, OnAnyBackend) {
    EXPECT_TRUE(rc::check("runs of any backend's memory are intervals", [] {
        const auto manners = *rc::gen::inRange(0u, Arena::manner_count);
        const auto todo = *steps();
        Arena arena(manners);
        Machine machine(&arena);
        for (const Step& step : todo) machine.step(step);
        machine.finish();
    }));
}

TEST(LargeCacheProperty, OnTheSystem) {
    EXPECT_TRUE(rc::check("runs of the system's memory are intervals", [] {
        const auto todo = *steps();
        Machine machine(nullptr);
        for (const Step& step : todo) machine.step(step);
        machine.finish();
    }));
}

}  // namespace
}  // namespace mpmm
