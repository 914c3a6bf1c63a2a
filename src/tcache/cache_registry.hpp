// SPDX-License-Identifier: Apache-2.0
// All thread caches ever made, and those that wait for a thread. Caches are never freed: a stray pointer to one stays a pointer to a cache.
#pragma once

#include "tcache/thread_cache.hpp"

namespace mpmm {

template <class C>
class CacheRegistry {
    friend Inspector<C>;
    using Cache = ThreadCache<C>;

  public:
    /// A cache for the calling thread, or nullptr when out of memory.
    Cache* acquire(Shared<C>& shared) {
        const Guard guard(lock_);
        Cache* cache = free_;
        if (cache != nullptr) {
            free_ = cache->next_free;
        } else {
            cache = shared.memory.template create<Cache>(&shared);
            if (cache == nullptr) return nullptr;
            cache->next_all = all_;
            all_ = cache;
        }
        ++in_use_;
        cache->revive();
        return cache;
    }
    /// Takes a cache back after retire_cache().
    void put_back(Cache* cache) {
        const Guard guard(lock_);
        cache->next_free = free_;
        free_ = cache;
        --in_use_;
    }
    /// Calls visit(cache) for every cache, used or not.
    template <class Visit>
    void for_each(Visit visit) {
        Cache* cache = nullptr;
        {
            const Guard guard(lock_);
            cache = all_;
        }
        // The list only grows, at its head.
        for (; cache != nullptr; cache = cache->next_all) visit(*cache);
    }
    /// Held around for_each_lock(): a cache that came in between would be unlocked without having been locked.
    Mutex& lock() { return lock_; }
    /// Every cache's locks, in order, for fork.
    template <class Visit>
    void for_each_lock(Visit visit) {
        C::Verify::for_each_lock(Cache::empty()->record, visit);
        for (Cache* cache = all_; cache != nullptr; cache = cache->next_all) C::Verify::for_each_lock(cache->record, visit);
        for (Cache* cache = all_; cache != nullptr; cache = cache->next_all) visit(cache->recover_lock);
    }
    /// In fork's child: only `own` has a thread here, and `late` needs none. The caches of other threads are never used again.
    void after_fork(Cache* own, Cache* late) {
        for (Cache* cache = all_; cache != nullptr; cache = cache->next_all) {
            const bool stays = cache == own || cache == late;
            if (!stays && cache->alive.load(relaxed)) --in_use_;
            cache->after_fork(stays);
        }
    }
    std::size_t in_use() {
        const Guard guard(lock_);
        return in_use_;
    }

  private:
    Mutex lock_;
    Cache* all_ = nullptr;
    Cache* free_ = nullptr;
    std::size_t in_use_ = 0;
};

}  // namespace mpmm
