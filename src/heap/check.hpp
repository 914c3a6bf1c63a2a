// SPDX-License-Identifier: Apache-2.0
// The check of the whole heap. Every lock is held meanwhile, as before a fork: pools, the large cache, the chunk map and the lists that
// threads share stand still. In the verify build every cache's lock is among them, so caches stand still too, but for their fast paths:
// those move bits between the free map and the user. A bit that is wrong only because a thread is between two instructions does not stay
// wrong, so a bitmap is found broken when the same bit is wrong at every one of many looks.
//
// Structures are checked in the order in which they lean on each other: the large cache, the pools, the chunk map, the caches' lists, the
// block allocators. A broken one ends the check, because what leans on it cannot be judged: one broken structure, one name. Pointers in
// lists are followed only when they lead to mapped memory; what was found is reported when all locks are free again.
#pragma once

#include "heap/heap.hpp"
#include "platform/os.hpp"
#include "verify/invariants.hpp"

namespace mpmm {

/// Collects what is broken.
class Findings {
  public:
    /// Whether `found` is what was expected.
    bool expect(const char* name, const void* where, std::uint64_t found, std::uint64_t expected) {
        if (found == expected) return true;
        if (count_ < room) list_[count_] = {name, where, found, expected};
        ++count_;
        return false;
    }
    bool expect(const char* name, const void* where, const void* found, const void* expected) {
        return expect(name, where, reinterpret_cast<std::uintptr_t>(found), reinterpret_cast<std::uintptr_t>(expected));
    }
    std::size_t count() const { return count_; }
    void report() const {
        for (std::size_t i = 0; i < std::min(count_, room); ++i)
            report::corruption(list_[i].name, list_[i].where, list_[i].found, list_[i].expected);
    }

  private:
    struct Finding {
        const char* name;
        const void* where;
        std::uint64_t found, expected;
    };
    static constexpr std::size_t room = 8;
    Finding list_[room];
    std::size_t count_ = 0;
};

/// The private parts of every structure.
template <class C>
struct Inspector {
    using H = Heap<C>;
    using G = typename C::Geometry;
    using Cache = ThreadCache<C>;
    using Block = BlockAllocator<C>;
    using Buffer = CombiningBuffer<C>;
    using Entry = typename Buffer::Entry;
    using Chunk = SlotChunk<C>;

    static auto& registry() { return H::registry_; }
    static Cache* caches() { return registry().all_; }
    static Cache*& idle_caches() { return registry().free_; }
    static std::size_t& caches_in_use() { return registry().in_use_; }
    static Bin<C>& bin(Cache& cache, unsigned index) { return cache.bins_[index]; }
    static BlockList<C>& waiting(Cache& cache, unsigned index) { return cache.waiting_[index]; }
    static Bin<C>*& direct(Cache& cache, std::size_t step) { return cache.direct_[step]; }
    static constexpr std::size_t direct_steps = Cache::direct_steps;
    static Block* orphans(unsigned index) { return H::shared.orphans[index].head_.load(relaxed); }
    static void set_orphans(unsigned index, Block* head) { H::shared.orphans[index].head_.store(head, relaxed); }

    static constexpr unsigned combined_classes = Buffer::classes;
    static constexpr std::size_t combined_ways = Buffer::ways;
    static Entry& combined(Cache& cache, unsigned index, std::size_t way) { return cache.combining_.table_[index][way]; }
    /// What the cache's buffer holds of a word.
    static std::uint64_t combined_bits(Cache& cache, const Block& block, unsigned w) {
        if (block.class_index >= combined_classes) return 0;
        const std::uintptr_t key = reinterpret_cast<std::uintptr_t>(&block) + w;
        const Entry& entry = cache.combining_.entry_of(block.class_index, key);
        return entry.key == key ? entry.mask.load(relaxed) : 0;
    }

    static Chunk*& usable(SlotPool<C>& pool) { return pool.usable_; }
    static Chunk*& all(SlotPool<C>& pool) { return pool.all_; }

    static constexpr std::size_t run_lists = LargeCache<C>::list_count;
    static std::size_t list_of(std::size_t chunks) { return LargeCache<C>::list_of(chunks); }
    static Run*& runs(std::size_t list) { return H::shared.large.lists_[list]; }
    static auto& cached() { return H::shared.large.cached_; }
    static auto& used_bytes() { return H::shared.large.used_bytes_; }
    static auto& used_blocks() { return H::shared.large.used_blocks_; }
};

template <class C>
class HeapCheck {
    using H = Heap<C>;
    using G = typename C::Geometry;
    using I = Inspector<C>;
    /// Whether the verifier keeps records, and stops caches.
    static constexpr bool recorded = C::Verify::enabled;
    using Classes = SizeClasses<G>;
    using Cache = ThreadCache<C>;
    using Block = BlockAllocator<C>;
    using Chunk = SlotChunk<C>;
    using Entries = TenantEntries<G>;

  public:
    /// All of it, with every lock held.
    static void run(Findings& findings) {
        HeapCheck check(findings);
        check.large_cache();
        if (findings.count() == 0) check.pools();
        if (findings.count() == 0) check.map();
        if constexpr (recorded)
            if (findings.count() == 0) check.caches();
        if (findings.count() == 0) check.orphans();
        if (findings.count() == 0) check.for_each_block([&](Block& block) { check.block(block); });
    }

  private:
    explicit HeapCheck(Findings& findings) : findings_(findings) {}

    template <class Value>
    bool expect(const char* name, const void* where, Value found, Value expected) {
        return findings_.expect(name, where, found, expected);
    }
    bool holds(const char* name, const void* where, bool condition) { return findings_.expect(name, where, condition, true); }
    template <class T>
    static bool readable(const T* pointer) {
        return is_aligned(reinterpret_cast<std::uintptr_t>(pointer), alignof(T)) && os::is_readable(pointer, sizeof(T));
    }
    template <class Visit>
    static void for_each_block(Visit visit) {
        for (auto& kind : H::shared.pools)
            for (auto& pool : kind)
                for (Chunk* chunk = I::all(pool); chunk != nullptr; chunk = chunk->all_next)
                    for (std::size_t i = 0; i < chunk->slots; ++i)
                        if (!chunk->is_free(i)) visit(*chunk->block(i));
    }
    template <class Visit>
    static void for_each_cache(Visit visit) {
        for (Cache* cache = I::caches(); cache != nullptr; cache = cache->next_all) visit(*cache);
    }
    /// The bits that look() shows every time.
    template <class Look>
    static std::uint64_t lasting(Look look) {
        constexpr int quick_looks = 100, slow_looks = 300;
        std::uint64_t bits = look();
        for (int i = 0; bits != 0 && i < quick_looks + slow_looks; ++i) {
            if (i < quick_looks) cpu_relax();
            else os::nap();
            bits &= look();
        }
        return bits;
    }
    template <class Look>
    bool no_bit(const char* name, const void* where, Look look) {
        return findings_.expect(name, where, lasting(look), 0);
    }

    // heap/check_memory.inl
    void large_cache();
    void free_run(const Run& run);
    void pools();
    void chunk(Chunk& chunk, SlotPool<C>& pool, bool intrusive, unsigned slot_shift);
    void map();
    bool covers(std::byte* chunk, typename Entries::Entry entry, const Tenant*& tenant, Extent& extent);

    // heap/check_blocks.inl
    void caches();
    void cache_alone(Cache& cache);
    void bin(Cache& cache, unsigned index);
    void waiting(Cache& cache, unsigned index);
    void recovered(Cache& cache);
    void combined(Cache& cache);
    void orphans();
    bool listed_block(const void* list, Block* block);
    void block(Block& block);
    void maps(Block& block, unsigned w);
    void recorded_maps(Block& block, unsigned w);
    void place(Block& block);
    static bool is_registered(const Cache* cache);
    static bool is_empty(Cache& cache);

    Findings& findings_;
    std::size_t used_bytes_ = 0, used_blocks_ = 0;
    std::uintptr_t end_ = 0;        // of the last extent of the map
    const Tenant* last_ = nullptr;  // whose it was
};

template <class C>
std::size_t Heap<C>::verify() {
    // What the caller freed for others is checked where it went.
    flush();
    Findings findings;
    before_fork();
    HeapCheck<C>::run(findings);
    after_fork_parent();
    findings.report();
    return findings.count();
}

}  // namespace mpmm

#include "heap/check_blocks.inl"
#include "heap/check_memory.inl"
