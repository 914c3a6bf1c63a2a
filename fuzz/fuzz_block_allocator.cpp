// SPDX-License-Identifier: Apache-2.0
// Block allocators and the slots they live in, against std::bitset: the owner takes and frees, other threads publish, the owner drains,
// unused pages go back, slots are reused.
#include "harness/known_blocks.hpp"
#include "harness/steps.hpp"
#include "harness/test_backend.hpp"
#include "harness/test_clock.hpp"
#include "heap/config.hpp"
#include "tcache/bin.hpp"
#include "tcache/shared.hpp"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

using namespace mpmm;
using namespace mpmm::fuzz;

namespace {

/// The owner of all of them.
alignas(64) constinit std::byte cache[64];

template <class C>
class Model {
    using G = typename C::Geometry;
    using V = typename C::Verify;
    using Block = BlockAllocator<C>;
    using Known = KnownBlocks<C>;

  public:
    Model(TestBackend& backend, const Flavour& flavour) : backend_(backend), flavour_(flavour), refusals_at_start_(backend.refusals()) {
        backend.begin(flavour);
        shared_.backend.use(backend.callbacks());
        mpmm_debugger_callbacks told{};
        told.struct_size = sizeof told;
        told.context = this;
        told.error = [](void* self, const mpmm_debugger_error* error) { static_cast<Model*>(self)->note(error->report); };
        mpmm_debugger_set_callbacks(&told);
        mpmm_set_option("halt_on_error", "0");
        mpmm_set_option("symbolizer", "0");
    }

    void acquire(const Step& step) {
        if (known_.size() == most_known) return;
        const unsigned index = step.a % SizeClasses<G>::count;
        const std::size_t before = backend_.refused_allocations();
        Block* const block = shared_.new_block_allocator(index);
        if (block == nullptr) return expect(backend_.refused_allocations() != before, "no slot, and the backend had memory");
        Known known(block);
        expect(block->size == SizeClasses<G>::size_of(index) && block->blocks <= G::map_bits, "shape of class ", index);
        expect(is_aligned(reinterpret_cast<std::uintptr_t>(block->base), known.slot_bytes()), "the slot is not aligned to its size");
        for (const Known& other : known_)
            expect(block->base + known.slot_bytes() <= other.block->base || other.block->base + other.slot_bytes() <= block->base,
                   "two block allocators share a slot");
        const auto* const header = reinterpret_cast<const std::byte*>(block);
        for (unsigned i = 0; i < block->blocks; ++i) {
            const std::byte* const from = block->address(i);
            known.usable[i] = from + block->size <= header || from >= header + sizeof *block;
        }
        known.free = known.usable;
        block->set_owner(Owner(cache, block->usable_state()));
        known_.push_back(known);
        last_ = known_.size() - 1;
        known_.back().check_clean(flavour_.zeroed);
    }
    void take(const Step& step) {
        Known* const known = pick(step);
        if (known == nullptr || known->full) return;
        Block& block = *known->block;
        const unsigned w = step.b < 128 ? block.lowest_free_word() : step.b % block.used_words();
        if (w < block.used_words()) take_from(*known, w, 1 + step.c % 64);
    }
    /// All of them: the block allocator becomes full.
    void take_all(const Step& step) {
        Known* const known = pick(step);
        if (known == nullptr || known->full) return;
        for (unsigned w = 0; w < known->block->used_words(); ++w) take_from(*known, w, 64);
        if (known->remote.any()) return;
        known->block->returned.store(0, relaxed);
        known->block->set_owner(Owner(cache, OwnerState::full), seq_cst);
        known->full = true;
        known->returned = 0;
    }
    void put_back(const Step& step) {
        Known* const known = pick(step);
        if (known == nullptr) return;
        const unsigned i = Known::nth(known->held(), step.b * 4 + step.c % 4);
        if (i < G::map_bits) put_back(*known, i);
    }
    void put_back_many(const Step& step) {
        Known* const known = pick(step);
        if (known == nullptr) return;
        const auto held = known->held();
        for (unsigned i = 0; i < known->block->blocks; ++i)
            if (held[i] && i % (1 + step.b % 64) != 0) put_back(*known, i);
    }
    void put_back_twice(const Step& step) {
        Known* const known = pick(step);
        if (known == nullptr) return;
        // In release the owner does not look for what others freed.
        const unsigned i = Known::nth(V::enabled ? known->free | known->remote : known->free, step.b * 4 + step.c % 4);
        if (i == G::map_bits) return;
        ++right_errors_;
        expect(!known->block->put_back(i), "block ", i, " was put back twice");
    }
    /// By another thread: the blocks of a word that are held and in the mask, in one go.
    void publish(const Step& step) {
        Known* const known = pick(step);
        if (known == nullptr) return;
        Block& block = *known->block;
        const unsigned w = step.b % block.used_words();
        std::uint64_t mask = 0;
        for (unsigned i = w * 64; i < (w + 1) * 64; ++i)
            if (known->held()[i] && (step.c >> i % 8 & 1) != 0) {
                known->check_content(i);
                expect(V::returned(block, i), "block ", i, " is not held");
                mask |= std::uint64_t{1} << i % 64;
                known->remote[i] = true;
            }
        if (mask == 0) return;
        block.publish(w, mask);
        if (!known->full || !wakes(*known)) return;
        expect(block.change_owner(Owner(cache, OwnerState::full), Owner(cache, OwnerState::queued)), "a full block allocator is not");
        wake(*known);
        drain(*known);
    }
    void publish_twice(const Step& step) {
        Known* const known = pick(step);
        // Verify's own record answers before it comes to that.
        if (known == nullptr || V::enabled) return;
        const unsigned i = Known::nth(known->free | known->remote, step.b * 4 + step.c % 4);
        if (i == G::map_bits) return;
        ++right_errors_;
        known->block->publish(i / 64, std::uint64_t{1} << i % 64);
    }
    void drain(const Step& step) {
        Known* const known = pick(step);
        if (known == nullptr || known->full) return;
        drain(*known);
    }
    void purge(const Step& step) {
        Known* const known = pick(step);
        if (known == nullptr) return;
        Block& block = *known->block;
        const bool now = step.b % 2 == 0, remote = step.c % 4 == 0;
        const std::uint64_t unused = known->unused_units(remote), due = unused & ~block.clean_units & (now ? all_ones : known->idle);
        std::size_t right = 0;
        for_each_run(unused, [&](unsigned first, unsigned count) {
            if ((bit_range(first, count) & due) == 0) return;
            const std::size_t from = align_up(first * known->unit(), G::page), to = align_down((first + count) * known->unit(), G::page);
            right += from < to ? to - from : 0;
        });
        const std::size_t refusals = backend_.refusals(), purged = block.purge(shared_.backend, now, remote);
        if (!flavour_.purges) right = 0;
        expect(purged == right || (purged < right && backend_.refusals() != refusals), "purged ", purged, " bytes, not ", right);
        known->idle = unused;
        known->check_clean(flavour_.zeroed);
        known->check_contents();
    }
    /// An address of the slot, or next to it.
    void find(const Step& step) {
        const Known* const known = pick(step);
        if (known == nullptr) return;
        const Block& block = *known->block;
        const std::size_t offset = step.b * std::size_t{4} * block.size + step.c % 3 - 1;
        const auto* const address = reinterpret_cast<const std::byte*>(reinterpret_cast<std::uintptr_t>(block.base) + offset);
        const bool inside = offset < known->slot_bytes();
        expect((shared_.locate(address) == known->block) == inside, "offset ", offset, inside ? " is not" : " is", " found");
        if (!inside) return;
        const auto [index, exact] = block.find(address);
        const bool right = offset % block.size == 0 && offset / block.size < block.blocks && known->usable[offset / block.size];
        expect(index == offset / block.size && exact == right, "offset ", offset, " is in block ", index, exact ? ", exactly" : "");
    }
    /// Everything comes back, and the slot goes.
    void release(const Step& step) {
        Known* const known = pick(step);
        if (known == nullptr) return;
        release(*known);
        known_.erase(known_.begin() + (known - known_.data()));
    }
    void purge_pools(const Step& step) {
        shared_.purge(os::now_ms(), step.a % 2 * std::uint64_t{10});
        for (const Known& known : known_) known.check_contents();
        check_pools();
    }
    void later(const Step& step) { advance_clock(step.a); }
    void refuse(const Step& step) {
        backend_.refuse(static_cast<TestBackend::Call>(step.a % TestBackend::call_count), step.b % 4, step.c % 5);
    }

    void check() {
        expect(backend_.misuse().empty(), backend_.misuse());
        expect(errors_ == right_errors_, errors_, " errors were reported, not ", right_errors_, ", the last: ", last_error_);
        if (last_ < known_.size()) compare(known_[last_]);
    }
    void finish() {
        backend_.refuse_nothing();
        for (Known& known : known_) compare(known);
        check_pools();
        for (Known& known : known_) release(known);
        known_.clear();
        shared_.purge(os::now_ms(), 0);
        shared_.large.trim(0);
        check_pools();
        check();
        std::size_t kept = 0;
        for (auto& pool : shared_.pools[1]) pool.for_each_chunk([&](const auto& chunk) { kept += chunk.extent.chunks * G::chunk; });
        // Shorter chunks are in the same arena as metadata.
        if (G::chunk >= mpmm_backend_chunk_size() && backend_.refusals() == refusals_at_start_)
            expect(backend_.chunk_bytes() == kept, backend_.chunk_bytes() - kept, " bytes are not given back");
        backend_.reset();
    }

    static constexpr StepKind<Model> operations[] = {{"acquire", &Model::acquire},
                                                     {"take", &Model::take},
                                                     {"take_all", &Model::take_all},
                                                     {"put_back", &Model::put_back},
                                                     {"put_back_many", &Model::put_back_many},
                                                     {"put_back_twice", &Model::put_back_twice},
                                                     {"publish", &Model::publish},
                                                     {"publish_twice", &Model::publish_twice},
                                                     {"drain", &Model::drain},
                                                     {"purge", &Model::purge},
                                                     {"find", &Model::find},
                                                     {"release", &Model::release},
                                                     {"purge_pools", &Model::purge_pools},
                                                     {"later", &Model::later},
                                                     {"refuse", &Model::refuse}};

  private:
    static constexpr std::size_t most_known = 6;

    void note(const char* error) {
        ++errors_;
        last_error_ = error;
    }
    Known* pick(const Step& step) {
        if (known_.empty()) return nullptr;
        last_ = step.a % known_.size();
        return &known_[last_];
    }
    void take_from(Known& known, unsigned w, unsigned count) {
        Block& block = *known.block;
        Bin<C> bin;
        Latest latest;
        bin.aim(&block, w);
        known.idle &= ~known.units_of_word(w);
        for (; count != 0; --count) {
            unsigned i = w * 64;
            while (i < (w + 1) * 64 && !known.free[i]) ++i;
            void* address = nullptr;
            const bool taken = bin.take(address, latest), right = i < (w + 1) * 64;
            expect(taken == right && (!taken || address == block.address(i)), "word ", w, " gave ", address, ", not block ", i);
            if (!taken) return;
            known.free[i] = false;
            known.write(i, ++seed_);
        }
    }
    void put_back(Known& known, unsigned i) {
        known.check_content(i);
        expect(known.block->put_back(i), "block ", i, " cannot be put back");
        known.free[i] = true;
        if (!known.full) return;
        ++known.returned;
        const bool enough = known.block->count_returned();
        expect(enough == (known.returned >= std::max(1u, known.block->blocks / 16u)), known.returned, " returned blocks are ",
               enough ? "enough" : "not enough");
        if (enough) wake(known);
    }
    bool wakes(const Known& known) const {
        const std::size_t back = known.returned + known.remote.count();
        const bool right = back >= std::max(1u, known.block->blocks / 16u);
        expect(known.block->worth_waking() == right, back, " blocks came back, and that is ", right ? "enough" : "not enough");
        return right;
    }
    void wake(Known& known) {
        known.block->set_owner(Owner(cache, known.block->usable_state()));
        known.full = false;
    }
    void drain(Known& known) {
        const bool any = known.remote.any();
        expect(known.block->drain() == any, "drained ", any ? "nothing" : "something");
        known.free |= known.remote;
        known.remote.reset();
    }
    void release(Known& known) {
        if (known.full) wake(known);
        for (unsigned i = 0; i < known.block->blocks; ++i)
            if (known.held()[i]) put_back(known, i);
        drain(known);
        expect(known.block->all_free() && known.block->free_blocks() == known.usable.count(), "not all blocks came back");
        std::byte* const base = known.block->base;
        shared_.release(*known.block);
        expect(!shared_.locate(base)->owner().is_block_allocator(), "the slot still has an owner");
    }
    void compare(const Known& known) const {
        known.compare();
        expect(shared_.locate(known.block->base) == known.block, "the slot's tenant");
    }
    void check_pools() {
        std::size_t count = 0;
        shared_.for_each_block_allocator([&](Block& block) {
            ++count;
            const auto same = [&](const Known& known) { return known.block == &block; };
            expect(std::any_of(known_.begin(), known_.end(), same), "a pool has a block allocator that nobody got");
        });
        expect(count == known_.size(), "pools have ", count, " block allocators, not ", known_.size());
        for (auto& kind : shared_.pools)
            for (auto& pool : kind)
                pool.for_each_chunk([&](const SlotChunk<C>& chunk) {
                    std::size_t free = 0;
                    for (unsigned w = 0; w < chunk.bit_words(); ++w) {
                        free += count_ones(chunk.free_bits[w]);
                        expect((chunk.dirty_bits[w] & ~chunk.free_bits[w]) == 0, "a used slot counts as dirty");
                        expect((chunk.aged_bits[w] & ~chunk.dirty_bits[w]) == 0, "a clean slot counts as aged");
                    }
                    expect(chunk.free_slots == free, "a chunk has ", free, " free slots, not ", chunk.free_slots);
                    expect(shared_.map.find(chunk.extent.base) == chunk.entry(), "a chunk's map entry");
                });
    }

    TestBackend& backend_;
    Flavour flavour_;
    std::size_t refusals_at_start_;
    Shared<C> shared_{};
    std::vector<Known> known_;
    std::size_t last_ = 0;  ///< which the operation was about
    std::uint64_t seed_ = 0;
    std::size_t errors_ = 0, right_errors_ = 0;
    std::string last_error_;
};

template <std::size_t Line, std::size_t IntrusiveMax>
using Subject = Model<Config<Geometry<4096, Line>, BuildVerify, IntrusiveMax>>;

}  // namespace

/// First byte: the backend's flavour; second: the geometry.
const Shape mpmm::fuzz::shape{split_records<2, step_size>, join_pieces};

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 2) return 0;
    return judge([&] {
        Flavour flavour = Flavour::decode(data[0]);
        flavour.system = false;
        with_one_of<Subject<64, 8>, Subject<32, 128>, Subject<128, 16>>(data[1], [&]<class M> {
            const auto run = std::make_unique<M>(TestBackend::of_layers(), flavour);
            run_steps(*run, M::operations, {data + 2, size - 2});
            run->finish();
        });
    });
}
