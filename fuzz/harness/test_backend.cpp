// SPDX-License-Identifier: Apache-2.0
#include "harness/test_backend.hpp"

#include "harness/failure.hpp"
#include "harness/races.hpp"
#include "heap/build_heap.hpp"

#include <algorithm>
#include <cstring>
#include <sstream>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace mpmm::fuzz {

namespace {

constexpr std::size_t arena_chunks = 128;
constexpr std::size_t small_bytes = std::size_t{256} << 20;
/// Where the arenas are wanted: the same in every process, where nothing else usually is.
constexpr unsigned hint_shift = sizeof(void*) == 8 ? 40 : 24, apart = sizeof(void*) == 8 ? 1 : 0x12;
constexpr std::uintptr_t chunks_hint = std::uintptr_t{0x20} << hint_shift,
                         zero_chunks_hint = chunks_hint + (std::uintptr_t{apart} << hint_shift),
                         small_hint = zero_chunks_hint + (std::uintptr_t{apart} << hint_shift), low_hint = 0x1000'0000;

/// Written to pages whose content is gone: whoever relies on it shows.
constexpr int junk = 0xDB;

void drop_pages(std::uintptr_t address, std::size_t size) { ::madvise(reinterpret_cast<void*>(address), size, MADV_DONTNEED); }

/// Spoils what lies there, here and there.
void spoil(std::uintptr_t address, std::size_t size, std::size_t page) {
    for (std::size_t offset = 0; offset < size; offset += std::max(page, size / 16 / page * page))
        std::memset(reinterpret_cast<void*>(address + offset), junk, 64);
}

/// In the schedule build another thread may step in before the backend does something.
void step_in(const void* address) {
#ifdef MPMM_SCHEDULE_BUILD
    schedule::reach(schedule::Access::call, address, std::source_location::current());
#else
    (void)address;
#endif
}

/// The system is one for all threads: what one gave to it happens before what another gets.
class InSystem {
  public:
    explicit InSystem(const void* system) : system_(system) { races::pick_up(system_); }
    ~InSystem() { races::leave(system_); }
    InSystem(const InSystem&) = delete;
    InSystem& operator=(const InSystem&) = delete;

  private:
    const void* system_;
    races::Unwatched unwatched_;
};

/// What lay there is out of sight for everybody: the system interrupts all processors that may still see it.
void out_of_sight(const void* address, std::size_t size) {
#ifdef MPMM_SCHEDULE_BUILD
    if (schedule::scheduler != nullptr) schedule::scheduler->born(address, size);
#else
    (void)address;
    (void)size;
#endif
}

}  // namespace

TestBackend& TestBackend::instance() {
    static TestBackend backend;
    return backend;
}

TestBackend& TestBackend::of_layers() {
    static TestBackend backend;
    static const bool mapped = backend.map();
    expect(mapped, "no room for the arenas");
    return backend;
}

bool TestBackend::Arena::map(std::size_t size, std::size_t alignment, std::uintptr_t hint) {
    void* const memory =
        ::mmap(reinterpret_cast<void*>(hint), size + alignment, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return false;
    begin = align_up(reinterpret_cast<std::uintptr_t>(memory), alignment);
    end = begin + size;
    used_end = begin;
    return true;
}

std::uintptr_t TestBackend::Arena::place(std::size_t size, std::size_t alignment) const {
    std::uintptr_t at = align_up(begin, alignment);
    for (const auto& [address, extent] : taken) {
        if (at + size <= address) break;
        if (address + extent.size > at) at = align_up(address + extent.size, alignment);
    }
    return at + size <= end && at + size > at ? at : 0;
}

auto TestBackend::Arena::holder(std::uintptr_t address, std::size_t size) -> std::map<std::uintptr_t, Extent>::iterator {
    auto found = taken.upper_bound(address);
    if (found == taken.begin()) return taken.end();
    --found;
    return address + size <= found->first + found->second.size ? found : taken.end();
}

bool TestBackend::map() {
    const std::size_t chunk = mpmm_backend_chunk_size();
    return mapped_ = chunks_.map(arena_chunks * chunk, 4 * chunk, chunks_hint) &&
                     zero_chunks_.map(arena_chunks * chunk, 4 * chunk, zero_chunks_hint) &&
                     low_chunks_.map(arena_chunks * chunk, 4 * chunk, low_hint) &&
                     small_.map(small_bytes, mpmm_backend_page_size(), small_hint);
}

bool TestBackend::install() {
    if (installed_) return true;
    if (!mapped_ && !map()) return false;
    const mpmm_backend backend = callbacks();
    mpmm_options options{};
    options.struct_size = sizeof options;
    options.backend = &backend;
    // The purging that time drives belongs to the program; see the operations `option` and `time`.
    options.settings =
        "purge=0:decay_ms=1"
#if defined(MPMM_SCHEDULE_BUILD) && defined(MPMM_VERIFY_BUILD)
        // What is freed is free: the heap is what is hunted here. Stacks are no virtual thread's.
        ":quarantine_bytes=0:guard_sample_rate=0:stack_depth=0:symbolizer=0"
#endif
        ;
    installed_ = mpmm_init(&options) == 0;
    return installed_;
}

mpmm_backend TestBackend::callbacks() {
    mpmm_backend backend{};
    backend.struct_size = sizeof backend;
    backend.context = this;
    backend.allocate = [](void* self, std::size_t size, std::size_t alignment) {
        return static_cast<TestBackend*>(self)->allocate(size, alignment);
    };
    backend.deallocate = [](void* self, void* address, std::size_t size) {
        return static_cast<TestBackend*>(self)->deallocate(address, size);
    };
    if (flavour_.purges)
        backend.purge = [](void* self, void* address, std::size_t size) { return static_cast<TestBackend*>(self)->purge(address, size); };
    if (flavour_.resizes)
        backend.resize = [](void* self, void* address, std::size_t old_size, std::size_t new_size) {
            return static_cast<TestBackend*>(self)->resize(address, old_size, new_size);
        };
    if (flavour_.zeroed) backend.flags = MPMM_BACKEND_ZEROED | MPMM_BACKEND_PURGE_ZEROES;
    return backend;
}

void TestBackend::begin(const Flavour& flavour) {
    flavour_ = flavour;
    refuse_nothing();
    wrongly_given_.clear();
    misuse_.clear();
}

void TestBackend::start(const Flavour& flavour) {
    begin(flavour);
    used_system_ = used_system_ || flavour.system;
    // Behind the API, which allows one backend per process. All that remains of the last one is memory that is never given back.
    BuildHeap::shared.backend.use(flavour.system ? mpmm_backend{} : callbacks());
}

void TestBackend::finish() {
    refuse_nothing();
    for (Arena* const arena : {&chunks_, &zero_chunks_, &low_chunks_, &small_})
        std::erase_if(arena->taken, [&](const auto& entry) {
            const auto& [address, extent] = entry;
            if (!extent.refused) return false;
            outstanding_ -= extent.size;
            if (!arena->keeps) drop_pages(address, extent.size);
            return true;
        });
    BuildHeap::shared.backend.use(callbacks());
}

void TestBackend::reset() {
    for (Arena* const arena : {&chunks_, &zero_chunks_, &low_chunks_, &small_}) {
        if (!arena->keeps)
            for (const auto& [address, extent] : arena->taken) drop_pages(address, extent.size);
        arena->taken.clear();
    }
    outstanding_ = 0;
}

void TestBackend::start_over() {
    for (Arena* const arena : {&chunks_, &zero_chunks_, &low_chunks_, &small_}) arena->clear();
    outstanding_ = 0;
    installed_ = false;
}

/// The first pages that have content are zeroed, which is quicker than to get new ones; the others go.
void TestBackend::Arena::clear() {
    static const int pagemap = ::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    constexpr std::size_t kept = 256;
    constexpr std::uint64_t has_content = std::uint64_t{3} << 62;  // in memory, or swapped out
    const std::size_t page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)), count = (used_end - begin) / page;
    std::vector<std::uint64_t> pages(count);
    const std::size_t bytes = count * sizeof pages[0];
    std::size_t zeroed = 0, known = 0;
    if (::pread(pagemap, pages.data(), bytes, static_cast<off_t>(begin / page * sizeof pages[0])) == static_cast<ssize_t>(bytes))
        for (; known < count && zeroed < kept; ++known)
            if ((pages[known] & has_content) != 0) {
                std::memset(reinterpret_cast<void*>(begin + known * page), 0, page);
                ++zeroed;
            }
    if (known < count) drop_pages(begin + known * page, (count - known) * page);
    taken.clear();
    used_end = begin;
}

void TestBackend::refuse(Call call, unsigned after, unsigned times) { faults_[static_cast<unsigned>(call)] = {after, times}; }

void TestBackend::refuse_nothing() {
    for (Fault& fault : faults_) fault = {};
    wrong_fault_ = {};
}

void TestBackend::answer_wrongly(Wrong wrong, unsigned after, unsigned times) {
    wrong_ = wrong;
    wrong_fault_ = {after, times};
}

bool TestBackend::due(Fault& fault) {
    if (fault.times == 0) return false;
    if (fault.after != 0) {
        --fault.after;
        return false;
    }
    --fault.times;
    return true;
}

bool TestBackend::refuses(Call call) {
    const bool refused = due(faults_[static_cast<unsigned>(call)]);
    ++(refused ? refusals_ : calls_[static_cast<unsigned>(call)]);
    return refused;
}

std::uintptr_t TestBackend::wrong_answer(std::size_t alignment) const {
    const std::size_t page = mpmm_backend_page_size(), chunk = mpmm_backend_chunk_size();
    // Only what would hold blocks is known to be in use.
    const bool for_blocks = alignment == chunk;
    switch (wrong_) {
        case Wrong::aligned_to_pages: return alignment == page ? 0 : small_.end + page;
        case Wrong::aligned_to_bytes: return small_.end + 8;
        case Wrong::beyond: return std::uintptr_t{0} - alignment;
        case Wrong::records: return for_blocks && !small_.taken.empty() ? align_down(small_.taken.begin()->first, chunk) : 0;
        case Wrong::in_use:
            for (const Arena* const arena : {&chunks_, &zero_chunks_, &low_chunks_})
                for (const auto& [address, extent] : arena->taken)
                    if (for_blocks && !extent.refused) return address + align_down(extent.size / 2, chunk);
            return 0;
    }
    return 0;
}

auto TestBackend::arena_of(std::uintptr_t address) -> Arena& {
    if (chunks_.contains(address)) return chunks_;
    if (low_chunks_.contains(address)) return low_chunks_;
    return zero_chunks_.contains(address) ? zero_chunks_ : small_;
}

bool TestBackend::of_the_system(std::uintptr_t address) const {
    return used_system_ && !chunks_.contains(address) && !zero_chunks_.contains(address) && !low_chunks_.contains(address) &&
           !small_.contains(address);
}

std::size_t TestBackend::chunk_bytes() const {
    std::size_t sum = 0;
    for (const Arena* const arena : {&chunks_, &zero_chunks_, &low_chunks_})
        for (const auto& [address, extent] : arena->taken)
            if (!extent.refused) sum += extent.size;
    return sum;
}

void TestBackend::misused(const char* what, std::uintptr_t address, std::size_t size) {
    if (!misuse_.empty()) return;
    std::ostringstream text;
    text << "backend misused: " << what << ", address " << reinterpret_cast<void*>(address) << ", " << size << " bytes";
    misuse_ = text.str();
}

// ---- the callbacks ----

void* TestBackend::allocate(std::size_t size, std::size_t alignment) {
    const InSystem in_system(this);
    step_in(nullptr);
    const std::size_t page = mpmm_backend_page_size();
    if (size == 0 || !is_aligned(size, page) || !std::has_single_bit(alignment) || alignment < page) {
        misused("allocate with a bad size or alignment", alignment, size);
        return nullptr;
    }
    if (repeated_ != nullptr && alignment >= mpmm_backend_chunk_size()) return std::exchange(repeated_, nullptr);
    if (wrong_fault_.times != 0)
        if (const std::uintptr_t answer = wrong_answer(alignment); answer != 0 && due(wrong_fault_)) {
            ++wrong_answers_;
            ++refused_allocations_;
            if (wrong_ < Wrong::in_use) wrongly_given_[answer] = size;
            return reinterpret_cast<void*>(answer);
        }
    Arena& of_chunks = flavour_.low ? low_chunks_ : flavour_.zeroed ? zero_chunks_ : chunks_;
    Arena& arena = alignment >= mpmm_backend_chunk_size() ? of_chunks : small_;
    const std::uintptr_t place = refuses(Call::allocate) || size > arena.end - arena.begin ? 0 : arena.place(size, alignment);
    if (place == 0) {
        ++refused_allocations_;
        return nullptr;
    }
    arena.taken[place] = {size, false};
    arena.used_end = std::max(arena.used_end, place + size);
    if (arena.keeps) spoil(place, size, page);
    outstanding_ += size;
    return reinterpret_cast<void*>(place);
}

int TestBackend::deallocate(void* memory, std::size_t size) {
    const InSystem in_system(this);
    step_in(memory);
    out_of_sight(memory, size);
    const auto address = reinterpret_cast<std::uintptr_t>(memory);
    if (const auto wrong = wrongly_given_.find(address); wrong != wrongly_given_.end() && wrong->second == size) {
        wrongly_given_.erase(wrong);
        return 0;
    }
    Arena& arena = arena_of(address);
    const auto found = arena.holder(address, size);
    if (found == arena.taken.end() || size == 0 || !is_aligned(address | size, mpmm_backend_page_size())) {
        misused("deallocate of what is no part of an allocation", address, size);
        return -1;
    }
    if (refuses(Call::deallocate)) {
        found->second.refused = true;
        return -1;
    }
    const auto [start, extent] = *found;
    arena.taken.erase(found);
    if (start < address) arena.taken[start] = {address - start, extent.refused};
    if (address + size < start + extent.size) arena.taken[address + size] = {start + extent.size - address - size, extent.refused};
    outstanding_ -= size;
    if (!arena.keeps) drop_pages(address, size);
    return 0;
}

int TestBackend::purge(void* memory, std::size_t size) {
    const InSystem in_system(this);
    step_in(memory);
    out_of_sight(memory, size);
    const auto address = reinterpret_cast<std::uintptr_t>(memory);
    Arena& arena = arena_of(address);
    const std::size_t page = mpmm_backend_page_size();
    if (of_the_system(address)) {
        drop_pages(address, size);
        return 0;
    }
    if (arena.holder(address, size) == arena.taken.end() || size == 0 || !is_aligned(address | size, page)) {
        misused("purge of what is no part of an allocation", address, size);
        return -1;
    }
    if (refuses(Call::purge)) return -1;
    if (flavour_.zeroed) drop_pages(address, size);
    else spoil(address, size, page);
    return 0;
}

int TestBackend::resize(void* memory, std::size_t old_size, std::size_t new_size) {
    const InSystem in_system(this);
    step_in(memory);
    const auto address = reinterpret_cast<std::uintptr_t>(memory);
    Arena& arena = arena_of(address);
    const auto found = arena.holder(address, old_size);
    if (found == arena.taken.end() || new_size == 0 || !is_aligned(address | old_size | new_size, mpmm_backend_page_size())) {
        misused("resize of what is no part of an allocation", address, old_size);
        return -1;
    }
    if (refuses(Call::resize)) return -1;
    // In place, and only at the end of an allocation.
    const std::uintptr_t end = found->first + found->second.size;
    if (address + old_size != end) return -1;
    if (new_size > old_size) {
        const auto next = std::next(found);
        const std::uintptr_t limit = next == arena.taken.end() ? arena.end : next->first;
        if (limit - end < new_size - old_size) return -1;
    } else if (flavour_.zeroed) {
        drop_pages(address + new_size, old_size - new_size);
    }
    found->second.size += new_size - old_size;
    outstanding_ += new_size - old_size;
    return 0;
}

}  // namespace mpmm::fuzz
