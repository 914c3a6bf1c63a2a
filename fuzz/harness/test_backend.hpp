// SPDX-License-Identifier: Apache-2.0
// The backend of a run: memory from arenas of its own, for whole chunks and for everything smaller, always the lowest that
// fits, so that a program meets the same addresses in every run. It refuses calls as the program says, and notes what the allocator must
// not do: give back or purge what it was not given, or two allocations in one call.
#pragma once

#include "mpmm/mpmm.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

namespace mpmm::fuzz {

/// What a program's header chooses.
struct Flavour {
    bool system = false;  ///< the system's memory instead of the arenas: no faults, but pages that move
    bool zeroed = false;  ///< memory is zero when it comes, and after purging; otherwise it is whatever it was
    bool purges = true;
    bool resizes = true;
    bool low = false;  ///< chunks lie in the first gigabyte of the address space; never zeroed

    static Flavour decode(std::uint8_t header) {
        return {header % 16 == 15, (header & 9) == 1, (header & 2) == 0, (header & 4) == 0, (header & 8) != 0};
    }
};

class TestBackend {
  public:
    enum class Call : std::uint8_t { allocate, deallocate, purge, resize };
    static constexpr unsigned call_count = 4;
    /// What allocate() returns against the contract: memory aligned to pages or to bytes only, that ends beyond the address space, that is in use,
    /// that has the allocator's records.
    /// The last two are nobody's to give back.
    enum class Wrong : std::uint8_t { aligned_to_pages, aligned_to_bytes, beyond, in_use, records };
    static constexpr unsigned wrong_count = 5;

    static TestBackend& instance();
    /// One with its arenas, for layers without the heap.
    static TestBackend& of_layers();

    mpmm_backend callbacks();
    /// Makes the allocator use this backend, for good. False when it refuses.
    bool install();
    /// A run begins, of callbacks() that the caller gives to a layer.
    void begin(const Flavour& flavour);
    /// Starts a run: no faults, and memory as this flavour has it. What the allocator still holds of the last one stays valid.
    void start(const Flavour& flavour);
    /// After a run: what the allocator lost because it was refused is free again.
    void finish();
    /// Takes everything back, from a layer that is no more.
    void reset();
    /// Takes everything back from an allocator that has become a new one: install() it again. No memory remembers anything.
    void start_over();

    /// From now on the call fails `times` times, after `after` more successes. Both small.
    void refuse(Call call, unsigned after, unsigned times);
    void refuse_nothing();
    /// From now on allocate() answers wrongly `times` times, after `after` more right answers. A request that this answer would be right for
    /// gets a right one.
    void answer_wrongly(Wrong wrong, unsigned after, unsigned times);
    /// Wrong answers so far. Each has to be reported.
    std::size_t wrong_answers() const { return wrong_answers_; }
    /// What was given wrongly, was nobody's, and did not come back.
    bool keeps_wrong_memory() const { return !wrongly_given_.empty(); }
    /// Calls so far that refuse() let through.
    std::size_t calls(Call call) const { return calls_[static_cast<unsigned>(call)]; }
    /// Against the contract: the next request for chunks gets this memory, which is in use. Null: no longer.
    void repeat(void* memory) { repeated_ = memory; }
    bool repeats() const { return repeated_ != nullptr; }
    /// Refusals of allocate() so far: a request may fail in an operation only when this grew.
    std::size_t refused_allocations() const { return refused_allocations_; }
    /// Calls of all kinds that were refused as refuse() wanted.
    std::size_t refusals() const { return refusals_; }
    /// What the allocator did against the contract, or empty.
    const std::string& misuse() const { return misuse_; }

    /// Bytes handed out and not given back, of all sizes.
    std::size_t outstanding() const { return outstanding_; }
    /// Of these, in whole chunks, and given back by nobody nor refused when somebody wanted to.
    std::size_t chunk_bytes() const;

  private:
    struct Extent {
        std::size_t size = 0;
        bool refused = false;  ///< giving it back was refused once
    };
    struct Arena {
        std::uintptr_t begin = 0, end = 0, used_end = 0;
        bool keeps = false;  ///< memory keeps whatever was in it; otherwise it reads as zero
        std::map<std::uintptr_t, Extent> taken{};

        bool map(std::size_t size, std::size_t alignment, std::uintptr_t hint);
        /// Nothing is taken, and all reads as zero.
        void clear();
        bool contains(std::uintptr_t address) const { return address >= begin && address < end; }
        std::uintptr_t place(std::size_t size, std::size_t alignment) const;
        /// The extent that holds all of [address, address + size), or end().
        std::map<std::uintptr_t, Extent>::iterator holder(std::uintptr_t address, std::size_t size);
    };
    struct Fault {
        unsigned after = 0, times = 0;
    };

    /// Reserves the arenas. False when the system refuses.
    bool map();
    bool refuses(Call call);
    /// Whether the next of what is planned is due.
    static bool due(Fault& fault);
    /// The address of the answer, or 0 when there is no wrong one for this request.
    std::uintptr_t wrong_answer(std::size_t alignment) const;
    /// The arena of an address; of those of none, where nothing is taken, the small one.
    Arena& arena_of(std::uintptr_t address);
    /// Whether an address may be of a chunk the allocator kept from a run on the system's memory.
    bool of_the_system(std::uintptr_t address) const;
    void misused(const char* what, std::uintptr_t address, std::size_t size);

    void* allocate(std::size_t size, std::size_t alignment);
    int deallocate(void* address, std::size_t size);
    int purge(void* address, std::size_t size);
    int resize(void* address, std::size_t old_size, std::size_t new_size);

    Flavour flavour_;
    Arena chunks_{.keeps = true};      ///< whole chunks
    Arena zero_chunks_;                ///< whole chunks that read as zero, for that flavour
    Arena low_chunks_{.keeps = true};  ///< whole chunks at low addresses
    Arena small_;                      ///< everything else
    Fault faults_[call_count], wrong_fault_;
    Wrong wrong_ = Wrong::in_use;
    std::map<std::uintptr_t, std::size_t> wrongly_given_;  ///< what is nobody's, and may be given back
    std::size_t wrong_answers_ = 0, calls_[call_count]{};
    std::size_t refused_allocations_ = 0, refusals_ = 0, outstanding_ = 0;
    void* repeated_ = nullptr;
    std::string misuse_;
    bool mapped_ = false, installed_ = false, used_system_ = false;
};

}  // namespace mpmm::fuzz
