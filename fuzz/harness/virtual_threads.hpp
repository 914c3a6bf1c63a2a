// SPDX-License-Identifier: Apache-2.0
// Threads without threads: the allocator knows a thread by its thread cache, so giving another cache to the current thread makes it
// another one. They take turns where the program says, which keeps every run the same.
#pragma once

#include "harness/operation.hpp"

#include "heap/build_heap.hpp"

#ifdef MPMM_VERIFY_BUILD
#include "verify/quarantine.hpp"
#include "verify/threads.hpp"
#endif

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
        publish();
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
            publish();
        });
        switch_to(0);
    }

  private:
    /// What waits in the name of a thread that ends is everybody's.
    static void publish() {
#if defined(MPMM_VERIFY_BUILD) && !defined(MPMM_SCHEDULE_BUILD)
        quarantine::publish();
#endif
    }

#ifndef MPMM_SCHEDULE_BUILD
    struct State {
        BuildHeap::Cache* cache = BuildHeap::Cache::empty();
        bool exited = false;
#ifdef MPMM_VERIFY_BUILD
        quarantine::Batch* batch = nullptr;
#endif
    };

    void save() {
        State& state = threads_[current_];
        state.cache = Slot::current;
        state.exited = Slot::exited;
#ifdef MPMM_VERIFY_BUILD
        state.batch = ThreadPointer<quarantine::Batch>::value;
        numbers_[current_] = verify_threads::Number::value;
#endif
    }
    void load() {
        const State& state = threads_[current_];
        Slot::current = state.cache;
        Slot::exited = state.exited;
#ifdef MPMM_VERIFY_BUILD
        ThreadPointer<quarantine::Batch>::value = state.batch;
        verify_threads::Number::value = numbers_[current_];
#endif
    }

#ifdef MPMM_VERIFY_BUILD
    /// There are only so many numbers: they are those of all runs.
    static inline std::uint32_t numbers_[thread_count]{};
#endif

    State threads_[thread_count];
#endif
    unsigned current_ = 0;
};

}  // namespace mpmm::fuzz
