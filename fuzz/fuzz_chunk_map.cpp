// SPDX-License-Identifier: Apache-2.0
// The chunk maps against std::map: chunk numbers near the edges of every level and beyond the address bits, and persistent memory that
// runs out between two nodes.
#include "block/tenant_map.hpp"
#include "harness/steps.hpp"
#include "platform/geometry.hpp"

#include <map>
#include <memory>
#include <set>

using namespace mpmm;
using namespace mpmm::fuzz;

namespace {

/// Persistent memory's backend: pages from one array, as many requests as are granted.
class Pages {
  public:
    mpmm_backend callbacks() {
        mpmm_backend backend{};
        backend.struct_size = sizeof backend;
        backend.context = this;
        backend.allocate = [](void* self, std::size_t size, std::size_t) { return static_cast<Pages*>(self)->allocate(size); };
        backend.deallocate = [](void*, void*, std::size_t) { return -1; };
        return backend;
    }
    unsigned granted = ~0u;

  private:
    static constexpr std::size_t most = std::size_t{128} << 20;
    alignas(65536) static inline std::byte memory_[most];

    void* allocate(std::size_t size) {
        if (granted == 0 || size > most - used_) return nullptr;
        if (granted != ~0u) --granted;
        used_ += size;
        return memory_ + used_ - size;
    }
    std::size_t used_ = 0;
};

template <class G>
using Entries = TenantEntries<G>;

template <class G, class Map, unsigned AddressBits, bool Nodes>
class Model {
  public:
    Model() {
        backend_.use(pages_.callbacks());
        map_ = std::make_unique<Map>(memory_);
    }

    void reserve(const Step& step) {
        const std::uintptr_t first = number(step), count = step.c;
        const bool right = first < chunks && count <= chunks - first && make_room(first, count);
        expect(map_->reserve(address(first), count) == right, "reserve ", count, " chunks from ", first, right ? " failed" : " worked");
    }
    /// As many as there are behind, or one more.
    void reserve_all(const Step& step) {
        const std::uintptr_t first = number(step), count = (first < chunks ? chunks - first : 0) + 1 + step.c % 2;
        expect(!map_->reserve(address(first), count), "reserved ", count, " chunks from ", first);
        expect(!map_->reserve(address(first), ~std::size_t{0} - step.c), "reserved everything from ", first);
    }
    void set(const Step& step) { set_one(number(step), &objects_[step.c]); }
    void clear(const Step& step) { set_one(number(step), Entries<G>::none()); }
    /// Neighbours, over the edge of a leaf or not.
    void set_several(const Step& step) {
        for (unsigned i = 0; i < step.c; ++i) set_one(number(step) + i, &objects_[i]);
    }
    void find(const Step& step) { expect_found(number(step)); }
    /// From now on memory is there for no node, for one, or for all.
    void starve(const Step& step) {
        const bool hungry = room_ != plenty;
        room_ = plenty;
        pages_.granted = ~0u;
        if (!Nodes || hungry || famines_ == most_famines) return;
        ++famines_;
        pages_.granted = 0;
        for (std::size_t size = G::page; size >= 8; size /= 2)
            while (memory_.allocate(size, 8) != nullptr) {
            }
        room_ = step.a % 2;
        if (room_ == 0) return;
        // A block so long that only its last page has something left: one node.
        pages_.granted = 1;
        expect(memory_.allocate(20 * G::page - memory_header - node_size, 8) != nullptr, "no memory for the test itself");
    }
    void check() {}
    void finish() {
        std::map<std::uintptr_t, std::byte*> seen;
        std::uintptr_t last = 0;
        map_->for_each([&](std::byte* chunk, std::byte* entry) {
            const std::uintptr_t where = reinterpret_cast<std::uintptr_t>(chunk) >> G::chunk_shift;
            expect(seen.empty() || where > last, "for_each goes from chunk ", last, " to ", where);
            seen[last = where] = entry;
        });
        for (const auto& [where, entry] : entries_) {
            for (const std::uintptr_t near : {where - 1, where, where + 1}) expect_found(near);
            const auto found = seen.find(where);
            expect(found != seen.end() && found->second == entry, "for_each does not come to chunk ", where);
        }
        expect(seen.size() == entries_.size(), "for_each visits ", seen.size(), " chunks, not ", entries_.size());
    }

    static constexpr StepKind<Model> operations[] = {
        {"reserve", &Model::reserve}, {"reserve_all", &Model::reserve_all}, {"set", &Model::set},      {"clear", &Model::clear},
        {"find", &Model::find},       {"set_several", &Model::set_several}, {"starve", &Model::starve}};

  private:
    static constexpr std::uintptr_t chunks = std::uintptr_t{1} << (AddressBits - G::chunk_shift);
    static constexpr std::size_t node_size = 256 * sizeof(void*), memory_header = 2 * sizeof(void*);
    static constexpr unsigned plenty = ~0u, most_famines = 20;  // as many as Pages has memory for

    /// A power of two from either end, and up to 128 from there.
    static std::uintptr_t number(const Step& step) {
        const std::uintptr_t edge = std::uintptr_t{1} << step.a % 32, near = static_cast<std::uintptr_t>(static_cast<std::int8_t>(step.b));
        return ((step.a & 64) != 0 ? chunks - edge : step.a % 32 == 31 ? 0 : edge) + near;
    }
    static void* address(std::uintptr_t number, std::size_t offset = 0) {
        return reinterpret_cast<void*>((number << G::chunk_shift) + offset);
    }

    /// Makes the nodes over the chunks; false when memory runs out on the way.
    bool make_room(std::uintptr_t first, std::uintptr_t count) {
        if (!Nodes) return true;
        for (std::uintptr_t leaf = first >> 8; count != 0 && leaf <= (first + count - 1) >> 8; ++leaf)
            for (auto* const level : {&middles_, &leaves_}) {
                const std::uintptr_t node = level == &middles_ ? leaf >> 8 : leaf;
                if (level->contains(node)) continue;
                if (room_ == 0) return false;
                if (room_ != plenty) --room_;
                level->insert(node);
            }
        return true;
    }
    bool has_room(std::uintptr_t number) const { return number < chunks && (!Nodes || leaves_.contains(number >> 8)); }
    void set_one(std::uintptr_t number, std::byte* entry) {
        if (!has_room(number)) return;
        map_->set(address(number, number % G::page), entry);
        if (entry == Entries<G>::none()) entries_.erase(number);
        else entries_[number] = entry;
        expect_found(number);
    }
    void expect_found(std::uintptr_t number) const {
        // Numbers whose address does not fit come back from the other end.
        number = number << G::chunk_shift >> G::chunk_shift;
        const auto known = entries_.find(number);
        std::byte* const right = known == entries_.end() ? Entries<G>::none() : known->second;
        for (const std::size_t offset : {std::size_t{0}, std::size_t{1}, G::chunk / 2, G::chunk - 1})
            expect(map_->find(address(number, offset)) == right, "chunk ", number, " + ", offset, " has a wrong entry");
    }

    static inline std::byte objects_[256];
    Pages pages_;
    Backend backend_;
    Persistent<G> memory_{backend_};
    std::unique_ptr<Map> map_;
    std::map<std::uintptr_t, std::byte*> entries_;
    std::set<std::uintptr_t> middles_, leaves_;
    unsigned room_ = plenty, famines_ = 0;
};

template <class G, unsigned AddressBits = 48>
using TreeModel = Model<G, DigitalTree<G, Entries<G>, AddressBits>, AddressBits, true>;
template <class G>
using FlatModel = Model<G, FlatMap<G, Entries<G>>, 32, false>;

}  // namespace

/// First byte: the map.
const Shape mpmm::fuzz::shape{split_records<1, step_size>, join_pieces};

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    return judge([&] {
        with_one_of<TreeModel<Geometry<4096, 64>>, TreeModel<Geometry<4096, 32>>, TreeModel<Geometry<65536, 32>>,
                    TreeModel<Geometry<4096, 64>, 37>, FlatModel<Geometry<4096, 64>>, FlatModel<Geometry<4096, 32>>>(data[0], [&]<class M> {
            const auto run = std::make_unique<M>();
            run_steps(*run, M::operations, {data + 1, size - 1});
            run->finish();
        });
    });
}
