// SPDX-License-Identifier: Apache-2.0
// Threads without threads: the allocator knows a thread by its thread cache, so giving another cache to the current thread makes it
// another one. They take turns where the program says, which keeps every run the same.
#pragma once

#include "harness/operation.hpp"

#include "heap/build_heap.hpp"

namespace mpmm::fuzz {

class VirtualThreads {
    using Slot = ThreadSlot<BuildHeap::Cache>;

  public:
    /// The caller is the first thread, with the cache it has.
    VirtualThreads() {
#ifdef MPMM_SCHEDULE_BUILD
        schedule::thread_index = 0;
#else
        save();
#endif
    }
    /// All threads end; the caller goes on as the first one, without a cache.
    ~VirtualThreads() { end_all(); }
    VirtualThreads(const VirtualThreads&) = delete;
    VirtualThreads& operator=(const VirtualThreads&) = delete;

    void switch_to(unsigned thread) {
        if (thread == current_) return;
#ifdef MPMM_SCHEDULE_BUILD
        schedule::thread_index = current_ = thread;
#else
        save();
        current_ = thread;
        load();
#endif
    }
    /// The number of the thread that runs, where each has variables of its own.
    static unsigned here() {
#ifdef MPMM_SCHEDULE_BUILD
        return schedule::thread_index;
#else
        return 0;
#endif
    }
    /// From now on the thread is one whose destructors run after its cache went.
    void end_for_good() {
        mpmm_tcache_release();
        Slot::exited = true;
    }
    /// A thread past its end becomes an ordinary one.
    void revive() { Slot::exited = false; }
    bool ended() const { return Slot::exited; }
    template <class Function>
    void for_each(Function function) {
        const unsigned before = current_;
        for (unsigned thread = 0; thread < thread_count; ++thread) {
            switch_to(thread);
            function();
        }
        switch_to(before);
    }
    void end_all() {
        for_each([] {
            mpmm_tcache_release();
            Slot::exited = false;
        });
        switch_to(0);
    }

  private:
#ifndef MPMM_SCHEDULE_BUILD
    struct State {
        BuildHeap::Cache* cache = BuildHeap::Cache::empty();
        bool exited = false;
    };

    void save() { threads_[current_] = {Slot::current, Slot::exited}; }
    void load() {
        Slot::current = threads_[current_].cache;
        Slot::exited = threads_[current_].exited;
    }

    State threads_[thread_count];
#endif
    unsigned current_ = 0;
};

}  // namespace mpmm::fuzz
