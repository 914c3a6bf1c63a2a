// SPDX-License-Identifier: Apache-2.0
// The large cache: free runs of chunks, in lists by their length, for large blocks and for the chunks that block allocators share.
//
//     lists[n]: runs of exactly n chunks, 1 <= n < lists;  lists[0]: longer ones
//
// Free runs are tagged in the chunk map at their first and last chunk, so a run being freed finds free neighbours in two look-ups (the
// boundary tags of D. Knuth, TAOCP vol. 1, 2.5) and merges with them. Blocks too long for the lists come straight from the backend and go
// straight back. Free memory is kept for the purge delay, then its pages are returned, and after some more time its addresses.
//
// One lock guards everything. Run::owner_word changes under it too, but is read without: it is stored with release and read with acquire, so
// that who finds a run used or free sees it set up as that. The sums are for whoever asks, relaxed: they order nothing.
#pragma once

#include "block/tenant_map.hpp"
#include "largecache/run.hpp"
#include "verify/policy.hpp"
#include "verify/report.hpp"

namespace mpmm {

template <class C>
class LargeCache {
    friend Inspector<C>;
    using G = typename C::Geometry;
    using Entries = TenantEntries<G>;

  public:
    constexpr LargeCache(Backend& backend, Persistent<G>& memory, TenantMap<G>& map) : backend_(backend), memory_(memory), map_(map) {}

    /// Blocks of at least this many chunks bypass the lists.
    static constexpr std::size_t huge_chunks = 32;

    /// A large block of at least `size` bytes; `alignment` is a power of two. `zero` asks for zeroed content. nullptr when out of memory.
    void* allocate(std::size_t size, std::size_t alignment, bool zero);
    /// Frees the block; reports and ignores an address that is not its start, and a second free. Returns the bytes freed.
    std::size_t free(Run& run, const void* address);
    /// Changes the usable size in place; false when it cannot.
    bool resize(Run& run, std::size_t size);
    /// Moves the block's pages to a longer place without copying; nullptr when only a copy can do it.
    void* grow_by_moving(Run& run, std::size_t size);

    /// `chunks` chunks that belong to nobody; false when out of memory.
    bool take(std::size_t chunks, Extent& extent);
    /// Takes back what take() gave.
    void give(const Extent& extent);

    /// Whether what take() gave holds only zeroes.
    bool reads_zero(const Extent& extent) const { return extent.clean && backend_.fresh_is_zero() && backend_.purged_is_zero(); }

    /// Purges what is unused for `delay` ms and gives back what stayed purged for long. `delay` 0 purges all. Returns bytes purged.
    std::size_t purge(std::uint64_t now, std::uint64_t delay);
    /// Gives all free runs back to the backend, but for about `keep` bytes. Returns the bytes given back.
    std::size_t trim(std::size_t keep);

    /// Calls visit(run) for every free run, under the lock. Returns cached_bytes() as it was then.
    template <class Visit>
    std::size_t for_each_free(Visit visit) {
        const Guard guard(lock_);
        for (Run* head : lists_)
            for (Run* run = head; run != nullptr; run = run->next) visit(*run);
        return cached_bytes();
    }
    std::size_t cached_bytes() const { return cached_.load(relaxed); }
    std::size_t used_bytes() const { return used_bytes_.load(relaxed); }
    std::size_t used_blocks() const { return used_blocks_.load(relaxed); }
    /// Bytes of the block that begins at the chunk; 0 when none does. Beside running threads.
    std::size_t used_size(const std::byte* chunk);
    /// The run that `address` lies in, anywhere; nullptr when in none.
    Run* run_around(const std::byte* address) const;
    /// Whether a large block that began at `address` was freed lately: tells a second free from a wild one.
    bool freed_lately(const void* address) {
        const Guard guard(lock_);
        for (const void* freed : lately_)
            if (freed == address) return true;
        return false;
    }
    Mutex& lock() { return lock_; }

  private:
    static constexpr std::size_t list_count = huge_chunks + 1;
    static constexpr std::uint64_t release_delays = 8;

    static std::size_t list_of(std::size_t chunks) { return chunks < list_count ? chunks : 0; }
    static std::byte* last_chunk(const Extent& extent) { return extent.base + (extent.chunks - 1) * G::chunk; }

    Run* new_run() {
        if (Run* const run = spare_; run != nullptr) {
            spare_ = run->next;
            return run;
        }
        return memory_.template create<Run>();
    }
    void drop_run(Run* run) {
        run->next = spare_;
        spare_ = run;
    }
    void link(Run* run) {
        Run*& head = lists_[list_of(run->extent.chunks)];
        run->previous = nullptr;
        run->next = head;
        if (head != nullptr) head->previous = run;
        head = run;
        cached_.fetch_add(run->extent.chunks * G::chunk, relaxed);
    }
    void unlink(Run* run) {
        (run->previous != nullptr ? run->previous->next : lists_[list_of(run->extent.chunks)]) = run->next;
        if (run->next != nullptr) run->next->previous = run->previous;
        cached_.fetch_sub(run->extent.chunks * G::chunk, relaxed);
    }
    void tag(const Extent& extent, typename Entries::Entry entry) {
        map_.set(extent.base, entry);
        map_.set(last_chunk(extent), entry);
    }
    /// Makes `extent` a free run in its list.
    void insert_free(const Extent& extent, std::uint64_t now);
    /// Takes a free run out of list and map; its descriptor goes back.
    Extent remove_free(Run* run) {
        unlink(run);
        tag(run->extent, Entries::none());
        const Extent extent = run->extent;
        drop_run(run);
        return extent;
    }
    /// The free run that ends or begins at the chunk of `address`, or nullptr.
    Run* free_neighbour(const std::byte* address, const Extent& of);
    Run* best_fit(std::size_t chunks);
    bool take_locked(std::size_t chunks, Extent& extent);
    bool fresh(std::size_t size, std::size_t alignment, Extent& extent);
    /// Whether the backend handed out memory that it already gave us.
    bool already_ours(const Extent& extent);
    void give_locked(Extent extent);
    /// Gives the last `chunks` chunks of a free run back, or keeps them when the backend does not want them. Returns the bytes given back.
    std::size_t give_back(Run* run, std::size_t chunks);

    Backend& backend_;
    Persistent<G>& memory_;
    TenantMap<G>& map_;
    Mutex lock_;
    Run* lists_[list_count]{};
    Run* spare_ = nullptr;
    const void* lately_[64]{};
    unsigned next_lately_ = 0;
    std::uint64_t allocations_ = 0;  // taken from the backend so far
    Atomic<std::size_t> cached_{0}, used_bytes_{0}, used_blocks_{0};
};

}  // namespace mpmm

#include "largecache/large_cache.inl"
