// SPDX-License-Identifier: Apache-2.0
// The large cache against a list of intervals: whole chunks and large blocks, resizing, ageing, refusals of every call of the backend.
//
// After each operation, live blocks and free runs are apart, free neighbours are merged, the chunk map shows both, and all of what the
// backend gave is in one of them.
#include "harness/steps.hpp"
#include "harness/test_backend.hpp"
#include "harness/test_clock.hpp"
#include "heap/config.hpp"
#include "tcache/shared.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
#include <sys/mman.h>
#include <vector>

using namespace mpmm;
using namespace mpmm::fuzz;

namespace {

/// Marks in a block of whole pages where a neighbour or a purge would begin or end: each half of a chunk, the last page, the last word.
template <class G>
class Marks {
  public:
    static void write(std::byte* block, std::size_t size, std::uint64_t seed) {
        for_each(size, [&](std::size_t offset) {
            const std::uint64_t mark = value(seed, offset);
            std::memcpy(block + offset, &mark, sizeof mark);
        });
    }
    /// Those in the first `kept` bytes.
    static void check(const std::byte* block, std::size_t size, std::size_t kept, std::uint64_t seed, const char* when) {
        for_each(size, [&](std::size_t offset) {
            if (offset < kept && at(block, offset) != value(seed, offset))
                fail("content changed: offset ", offset, " of a block of ", size, " bytes, ", when);
        });
    }
    static void check_zero(const std::byte* block, std::size_t size) {
        for_each(size, [&](std::size_t offset) {
            if (at(block, offset) != 0) fail("not zero: offset ", offset, " of ", size, " bytes");
        });
    }

  private:
    static std::uint64_t value(std::uint64_t seed, std::size_t offset) { return (seed * 0x9E3779B97F4A7C15u ^ offset) | 1; }
    static std::uint64_t at(const std::byte* block, std::size_t offset) {
        std::uint64_t mark = 0;
        std::memcpy(&mark, block + offset, sizeof mark);
        return mark;
    }
    template <class Visit>
    static void for_each(std::size_t size, Visit visit) {
        for (std::size_t offset = 0; offset < size; offset += G::chunk / 2) visit(offset);
        visit(size - G::page);
        visit(size - sizeof(std::uint64_t));
    }
};

template <class C>
class Model {
    using G = typename C::Geometry;
    using Entries = TenantEntries<G>;

    struct Block {
        std::byte* base;
        std::size_t size;
        std::uint64_t seed;
        mpmm::Run* run;  ///< null: whole chunks of take()
        Extent extent;
        bool written = true;

        /// Of addresses that belong to it.
        std::size_t extent_bytes() const { return run != nullptr && run->huge ? size : extent.chunks * G::chunk; }
    };

  public:
    Model(TestBackend& backend, const Flavour& flavour) : backend_(backend), flavour_(flavour), refusals_at_start_(backend.refusals()) {
        backend.begin(flavour);
        if (!flavour.system) shared_.backend.use(backend.callbacks());
        mpmm_debugger_callbacks told{};
        told.struct_size = sizeof told;
        told.context = this;
        told.warning = [](void* self, const char*) { ++static_cast<Model*>(self)->warnings_; };
        told.error = [](void* self, const mpmm_debugger_error*) { ++static_cast<Model*>(self)->errors_; };
        mpmm_debugger_set_callbacks(&told);
        mpmm_set_option("halt_on_error", "0");
    }

    void take(const Step& step) {
        const std::size_t chunks = 1 + step.a % 6;
        Extent extent;
        const std::size_t before = denials();
        if (!large_.take(chunks, extent)) return expect_refused(before);
        expect(extent.chunks == chunks, "took ", extent.chunks, " chunks, not ", chunks);
        const std::size_t size = chunks * G::chunk;
        if (large_.reads_zero(extent)) Marks<G>::check_zero(extent.base, size);
        add({extent.base, size, ++seed_, nullptr, extent, step.b % 2 == 0});
    }
    void allocate(const Step& step) {
        const std::size_t size = this->size(step), alignment = step.c % 8 < 5 ? std::size_t{1} << step.c / 8 : G::chunk << step.c % 8 % 5;
        const bool zero = step.c >= 128 && size <= 3 * G::chunk / 2;
        const std::size_t before = denials();
        auto* const base = static_cast<std::byte*>(large_.allocate(size, alignment, zero));
        if (base == nullptr) {
            if (size <= PTRDIFF_MAX - 2 * G::chunk) expect_refused(before);
            return;
        }
        auto* const run = static_cast<mpmm::Run*>(shared_.locate(base));
        expect(run->owner() == Owner(OwnerState::large_used) && run->extent.base == base, "a new block's record");
        expect(run->size == align_up(std::max<std::size_t>(size, 1), G::page), "asked for ", size, " bytes, got ", run->size);
        expect(is_aligned(reinterpret_cast<std::uintptr_t>(base), std::max(alignment, G::chunk)), "not aligned to ", alignment);
        expect(!large_.freed_lately(base), "a new block was freed lately");
        if (zero) Marks<G>::check_zero(base, run->size);
        add({base, run->size, ++seed_, run, run->extent});
    }
    void free(const Step& step) {
        if (!live_.empty()) free_at(step.a % live_.size());
    }
    /// Inside of a block, and one that was freed.
    void free_wrongly(const Step& step) {
        if (const Block* const block = pick(step); block != nullptr && step.b % 2 == 0) {
            ++right_errors_;
            expect(large_.free(*block->run, block->base + 1 + step.c * std::size_t{16}) == 0, "an address inside of a block was freed");
        } else if (freed_run_ != nullptr && std::none_of(live_.begin(), live_.end(), [&](auto& b) { return b.base == freed_; })) {
            ++right_errors_;
            expect(large_.free(*freed_run_, freed_) == 0, "a block was freed twice");
        }
    }
    void resize(const Step& step) {
        Block* const block = pick(step);
        if (block == nullptr) return;
        const std::size_t size = this->size({step.b, step.c, 0}), whole = align_up(std::max<std::size_t>(size, 1), G::page);
        const bool possible = size <= PTRDIFF_MAX - 2 * G::chunk, fits = possible && whole <= block->extent.chunks * G::chunk;
        check_content(*block, block->size, "before resizing");
        const bool done = large_.resize(*block->run, size);
        expect(!done || possible, "resized to ", size);
        if (!block->run->huge) expect(done == fits, "resize of ", block->size, " bytes to ", size, done ? " worked" : " failed");
        if (!done) return;
        expect(block->run->size == whole && block->run->extent.base == block->base, "resized to ", size, ", and got ", block->run->size);
        resized(*block);
    }
    void grow_by_moving(const Step& step) {
        Block* const block = pick(step);
        const std::size_t size = this->size({step.b, step.c, 0});
        if (block == nullptr || size <= block->size) return;
        auto* const moved = static_cast<std::byte*>(large_.grow_by_moving(*block->run, size));
        if (moved == nullptr) return;
        expect(flavour_.system && shared_.locate(moved) == block->run, "moved by what?");
        expect(shared_.locate(block->base)->owner().state() == OwnerState::foreign, "the old place is still known");
        block->base = moved;
        resized(*block);
    }
    void purge(const Step& step) {
        constexpr std::uint64_t delays[] = {0, 1, 10, 1000};
        const std::uint64_t delay = delays[step.a % 4], now = os::now_ms();
        const std::size_t refusals = backend_.refusals(), before = shared_.backend.purged(), purged = large_.purge(now, delay);
        expect(purged == shared_.backend.purged() - before, "purged ", shared_.backend.purged() - before, " bytes, and counted ", purged);
        const bool sure = backend_.refusals() == refusals, purges = flavour_.system || flavour_.purges;
        large_.for_each_free([&](const mpmm::Run& run) {
            const std::uint64_t age = now - run.since;
            if (sure && purges && age >= delay) expect(run.extent.clean, "a free run of ", age, " ms was not purged after ", delay);
            if (sure && delay != 0) expect(age < 8 * delay, "a free run of ", age, " ms was not given back after 8 x ", delay);
            if (large_.reads_zero(run.extent)) Marks<G>::check_zero(run.extent.base, run.extent.chunks * G::chunk);
        });
    }
    void trim(const Step& step) {
        const std::size_t keep = step.a % 16 * G::chunk / 2, before = large_.cached_bytes(), refusals = backend_.refusals();
        const std::size_t released = large_.trim(keep);
        expect(large_.cached_bytes() + released == before, "trimmed ", before - large_.cached_bytes(), " bytes, and counted ", released);
        const std::size_t right = before > keep ? (before - keep) / G::chunk * G::chunk : 0;
        expect(released == right || backend_.refusals() != refusals, "trimmed ", released, " bytes of ", before, " to keep ", keep);
    }
    void later(const Step& step) { advance_clock((step.b % 2 == 0 ? 1 : 100) * std::uint64_t{step.a}); }
    void refuse(const Step& step) {
        backend_.refuse(static_cast<TestBackend::Call>(step.a % TestBackend::call_count), step.b % 4, step.c % 5);
    }
    /// Descriptors run out.
    void starve(const Step&) {
        if (flavour_.system) return;
        backend_.refuse(TestBackend::Call::allocate, 0, ~0u);
        while (shared_.memory.allocate(sizeof(mpmm::Run), alignof(mpmm::Run)) != nullptr) {
        }
    }
    /// The backend hands out what it handed out before.
    void twice(const Step& step) {
        const Block* const block = pick(step);
        if (block == nullptr || flavour_.system) return;
        backend_.repeat(block->base + step.b % block->extent.chunks * G::chunk);
        allocate({14 + step.c % 2u, 0, 0});
        if (!backend_.repeats()) ++right_warnings_;
        backend_.repeat(nullptr);
    }

    void check() {
        expect(backend_.misuse().empty(), backend_.misuse());
        expect(errors_ == right_errors_, errors_, " errors were reported, not ", right_errors_);
        expect(warnings_ == right_warnings_, warnings_, " times memory in use was refused, not ", right_warnings_);
        std::size_t used = 0, used_blocks = 0, bytes = 0, cached = 0;
        for (const Block& block : live_) {
            bytes += block.extent_bytes();
            if (block.run == nullptr) continue;
            used += block.size;
            ++used_blocks;
            expect(shared_.locate(block.base) == block.run, "a live block is not in the map");
        }
        expect(large_.used_bytes() == used && large_.used_blocks() == used_blocks, large_.used_blocks(), " blocks of ", large_.used_bytes(),
               " bytes are in use, not ", used_blocks, " of ", used);
        std::vector<Extent> free;
        large_.for_each_free([&](const mpmm::Run& run) {
            free.push_back(run.extent);
            cached += run.extent.chunks * G::chunk;
            expect(run.owner() == Owner(OwnerState::large_free), "a free run's owner");
            for (std::size_t i = 0; i < run.extent.chunks; ++i) {
                const bool end = i == 0 || i + 1 == run.extent.chunks;
                const auto entry = shared_.map.find(run.extent.base + i * G::chunk);
                expect(entry == (end ? Entries::whole(&run) : Entries::none()), "map entry of chunk ", i, " of a free run");
            }
            for (const Block& block : live_) expect(apart(block, run.extent), "a free run lies over a live block");
        });
        expect(large_.cached_bytes() == cached, "free runs add up to ", cached, " bytes, not ", large_.cached_bytes());
        std::sort(free.begin(), free.end(), [](const Extent& a, const Extent& b) { return a.base < b.base; });
        for (std::size_t i = 1; i < free.size(); ++i) {
            const std::byte* const end = free[i - 1].base + free[i - 1].chunks * G::chunk;
            expect(end <= free[i].base, "free runs overlap");
            const bool same = flavour_.system || free[i - 1].origin == free[i].origin;
            expect(end < free[i].base || !same, "free neighbours are not merged");
        }
        // What the backend did not want back is no longer its own.
        if (!flavour_.system && backend_.refusals() == refusals_at_start_)
            expect(backend_.chunk_bytes() == bytes + cached, "of ", backend_.chunk_bytes(), " bytes ", bytes + cached, " are known");
    }
    void finish() {
        backend_.refuse_nothing();
        while (!live_.empty()) free_at(live_.size() - 1);
        large_.trim(0);
        check();
        expect(large_.cached_bytes() == 0, large_.cached_bytes(), " bytes stay in the cache");
        std::size_t metadata = 0;
        shared_.memory.for_each_range([&](std::uintptr_t begin, std::uintptr_t end) { metadata += end - begin; });
        if (flavour_.system) {
            expect(shared_.backend.mapped() == metadata, shared_.backend.mapped() - metadata, " bytes are not given back");
            give_metadata_back();
        }
        backend_.reset();
    }

    static constexpr StepKind<Model> operations[] = {{"take", &Model::take},         {"allocate", &Model::allocate},
                                                     {"allocate", &Model::allocate}, {"free", &Model::free},
                                                     {"free", &Model::free},         {"free_wrongly", &Model::free_wrongly},
                                                     {"resize", &Model::resize},     {"grow_by_moving", &Model::grow_by_moving},
                                                     {"purge", &Model::purge},       {"trim", &Model::trim},
                                                     {"later", &Model::later},       {"refuse", &Model::refuse},
                                                     {"starve", &Model::starve},     {"twice", &Model::twice}};

  private:
    /// Sizes around whole chunks, of both kinds and neither: b pages more, or less.
    static std::size_t size(const Step& step) {
        constexpr std::size_t chunk = G::chunk;
        constexpr std::size_t sizes[] = {0,         chunk / 2, chunk - 1, chunk,      chunk + 1,  2 * chunk,      2 * chunk,  3 * chunk,
                                         4 * chunk, 5 * chunk, 8 * chunk, 13 * chunk, 31 * chunk, 31 * chunk + 1, 32 * chunk, 34 * chunk};
        if (step.a == 255) return ~std::size_t{0} - step.b * std::size_t{G::page};
        if (step.a == 254) return PTRDIFF_MAX - step.b * std::size_t{G::page};
        const auto nudge = static_cast<std::ptrdiff_t>(static_cast<std::int8_t>(step.b)) * static_cast<std::ptrdiff_t>(G::page);
        const std::size_t base = sizes[step.a % 16];
        return nudge < 0 && base < static_cast<std::size_t>(-nudge) ? base : base + static_cast<std::size_t>(nudge);
    }
    /// Requests to the backend without an answer that can be used.
    std::size_t denials() const { return backend_.refused_allocations() + warnings_; }
    void expect_refused(std::size_t before) const { expect(flavour_.system || denials() != before, "failed, and the backend had memory"); }
    static bool apart(const Block& block, const Extent& extent) {
        return block.base + block.extent_bytes() <= extent.base || extent.base + extent.chunks * G::chunk <= block.base;
    }
    void check_content(const Block& block, std::size_t kept, const char* when) const {
        if (block.written) Marks<G>::check(block.base, block.size, kept, block.seed, when);
    }
    void add(Block block) {
        expect(is_aligned(reinterpret_cast<std::uintptr_t>(block.base), G::chunk), "a block does not begin with a chunk");
        for (const Block& other : live_)
            expect(block.base + block.extent_bytes() <= other.base || other.base + other.extent_bytes() <= block.base, "blocks overlap");
        if (block.written) Marks<G>::write(block.base, block.size, block.seed);
        live_.push_back(block);
    }
    /// A block whose record says a new size, and perhaps another place.
    void resized(Block& block) {
        const std::size_t size = block.run->size, kept = std::min(block.size, size);
        check_content(block, kept, "after resizing");
        const Block changed{block.base, size, ++seed_, block.run, block.run->extent};
        live_.erase(live_.begin() + (&block - live_.data()));
        add(changed);
    }
    void free_at(std::size_t index) {
        const Block block = live_[index];
        live_.erase(live_.begin() + static_cast<std::ptrdiff_t>(index));
        check_content(block, block.size, "when freed");
        if (block.run == nullptr) {
            Extent extent = block.extent;
            extent.clean = extent.clean && !block.written;
            return large_.give(extent);
        }
        freed_ = block.base;
        freed_run_ = block.run;
        expect(large_.free(*block.run, block.base) == block.size, "a block of ", block.size, " bytes cannot be freed");
        expect(large_.freed_lately(block.base), "the last free is forgotten");
    }
    /// A large block, or null.
    Block* pick(const Step& step) {
        if (live_.empty()) return nullptr;
        Block& block = live_[step.a % live_.size()];
        return block.run != nullptr ? &block : nullptr;
    }
    /// The system's memory has no arena that takes it back.
    void give_metadata_back() {
        std::vector<std::pair<std::uintptr_t, std::size_t>> ranges;
        shared_.memory.for_each_range([&](std::uintptr_t begin, std::uintptr_t end) { ranges.emplace_back(begin, end - begin); });
        for (const auto& [begin, size] : ranges) ::munmap(reinterpret_cast<void*>(begin), size);
    }

    TestBackend& backend_;
    Flavour flavour_;
    std::size_t refusals_at_start_;
    Shared<C> shared_{};
    LargeCache<C>& large_ = shared_.large;
    std::vector<Block> live_;
    std::uint64_t seed_ = 0;
    const std::byte* freed_ = nullptr;
    mpmm::Run* freed_run_ = nullptr;
    std::size_t warnings_ = 0, errors_ = 0, right_warnings_ = 0, right_errors_ = 0;
};

}  // namespace

/// First byte: the backend's flavour; second: the geometry.
const Shape mpmm::fuzz::shape{split_records<2, step_size>, join_pieces};

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 2) return 0;
    return judge([&] {
        with_one_of<Config<Geometry<4096, 64>, BuildVerify, 8>, Config<Geometry<4096, 128>, BuildVerify, 16>>(data[1], [&]<class C> {
            const auto run = std::make_unique<Model<C>>(TestBackend::of_layers(), Flavour::decode(data[0]));
            run_steps(*run, Model<C>::operations, {data + 2, size - 2});
            run->finish();
        });
    });
}
