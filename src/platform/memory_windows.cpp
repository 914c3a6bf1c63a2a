// SPDX-License-Identifier: Apache-2.0
// Windows gives address space in reservations that can be neither split nor joined, and is told page by page what it has to have memory for.
// The functions of os.hpp know no reservations: they go over all that a range touches, one after the other.
//
//   reservation   [ committed | decommitted | committed, no access | … ]      released as a whole when nothing of it is committed any more
#include "platform/bits.hpp"
#include "platform/lock.hpp"
#include "platform/os_windows.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace mpmm::os {
namespace {

using windows::functions, windows::KeepError;

/// What reservations begin at multiples of, on every Windows so far.
constexpr std::size_t granularity = std::size_t{64} << 10;

char* bytes(std::uintptr_t address) { return reinterpret_cast<char*>(address); }

/// A run of pages of the same kind in one reservation, cut to the range looked at.
struct Part {
    std::uintptr_t begin, end;
    char* reservation;
    DWORD state, protection;
    bool committed() const { return state == MEM_COMMIT; }
    bool accessible() const { return committed() && (protection & (PAGE_NOACCESS | PAGE_GUARD)) == 0; }
    char* start() const { return bytes(begin); }
    std::size_t size() const { return end - begin; }
};

bool query(std::uintptr_t at, std::uintptr_t end, Part& part) {
    MEMORY_BASIC_INFORMATION info;
    if (::VirtualQuery(bytes(at), &info, sizeof info) == 0) return false;
    const std::uintptr_t part_end = reinterpret_cast<std::uintptr_t>(info.BaseAddress) + info.RegionSize;
    part = {at, std::min(end, part_end), static_cast<char*>(info.AllocationBase), info.State, info.Protect};
    return true;
}

/// Calls visit(part) for the range, part by part, until it says false. Whether none did and no part was free.
template <class Visit>
bool each_part(const void* address, std::size_t size, Visit visit) {
    const auto begin = reinterpret_cast<std::uintptr_t>(address), end = begin + size;
    if (end < begin) return false;
    Part part;
    for (std::uintptr_t at = begin; at < end; at = part.end)
        if (!query(at, end, part) || part.state == MEM_FREE || !visit(part)) return false;
    return true;
}

/// Where the reservation that `at` lies in ends; `committed` becomes whether anything of it is, from `at` on.
std::uintptr_t reservation_end(std::uintptr_t at, bool& committed) {
    Part part, next;
    committed = false;
    if (!query(at, UINTPTR_MAX, part)) return at;
    for (next = part; next.state != MEM_FREE && next.reservation == part.reservation;) {
        committed = committed || next.committed();
        at = next.end;
        if (!query(at, UINTPTR_MAX, next)) break;
    }
    return at;
}

/// What the system does with the content of pages it may forget is not defined, but it has only zeroes and what was there to choose from:
/// zeroes as well, then. A few pages at a time, so that what was not backed before is not for long.
bool forget(const Part& part) {
    constexpr std::size_t step = std::size_t{64} << 10;
    for (std::uintptr_t at = part.begin; at < part.end; at += step) {
        const std::size_t size = std::min(step, part.end - at);
        std::memset(bytes(at), 0, size);
        if (const auto discard = functions.discard.load(relaxed); discard != nullptr) {
            if (discard(bytes(at), size) != ERROR_SUCCESS) return false;
        } else {
            if (::VirtualAlloc(bytes(at), size, MEM_RESET, PAGE_READWRITE) == nullptr) return false;
            // Of pages that are not locked, this only takes them out of the working set.
            ::VirtualUnlock(bytes(at), size);
        }
    }
    return true;
}

/// Whether the system can surely commit so much.
bool is_plenty(std::size_t size) {
    constexpr std::size_t margin = std::size_t{256} << 20;
    MEMORYSTATUSEX status{};
    status.dwLength = sizeof status;
    const auto ask = functions.memory_status.load(relaxed);
    return ask != nullptr && ask(&status) != 0 && status.ullAvailPageFile >= std::uint64_t{margin} + size;
}

/// Takes the pages away and commits others: one step, whether they were ever backed or not. What was given back has to be had again, so this
/// is done only where there is plenty; if others took all of that in between, nothing but waiting for it is left.
bool replace(const Part& part) {
    constexpr int patience = 10'000;
    if (::VirtualFree(part.start(), part.size(), MEM_DECOMMIT) == 0) return false;
    for (int tries = 0; ::VirtualAlloc(part.start(), part.size(), MEM_COMMIT, PAGE_READWRITE) == nullptr; ++tries) {
        if (tries == patience) std::abort();
        ::Sleep(1);
    }
    return true;
}

/// Pages of a committed part read as zero and are no longer backed. Few pages stay accessible all the time: somebody may look at the header of
/// a block allocator that is not there.
bool empty(const Part& part) {
    constexpr std::size_t few = std::size_t{1} << 20;
    return part.size() > few && is_plenty(part.size()) ? replace(part) : forget(part);
}

/// Large pages want a privilege that few have, and that is not in force until somebody asks for it.
bool allow_large_pages() {
    static constinit Atomic<int> allowed{0};  // 0 not tried yet, 1 yes, -1 no
    if (const int known = allowed.load(relaxed); known != 0) return known == 1;
    bool yes = false;
    HANDLE token = nullptr;
    if (::OpenProcessToken(::GetCurrentProcess(), TOKEN_ADJUST_PRIVILEGES | TOKEN_QUERY, &token) != 0) {
        TOKEN_PRIVILEGES wanted{};
        wanted.PrivilegeCount = 1;
        wanted.Privileges[0].Attributes = SE_PRIVILEGE_ENABLED;
        yes = ::LookupPrivilegeValueW(nullptr, L"SeLockMemoryPrivilege", &wanted.Privileges[0].Luid) != 0 &&
              ::AdjustTokenPrivileges(token, FALSE, &wanted, 0, nullptr, nullptr) != 0 && ::GetLastError() == ERROR_SUCCESS;
        ::CloseHandle(token);
    }
    allowed.store(yes ? 1 : -1, relaxed);
    return yes;
}

void* allocate_aligned(windows::VirtualAlloc2 allocate, std::size_t size, std::size_t alignment, DWORD type) {
    // MEM_ADDRESS_REQUIREMENTS and MEM_EXTENDED_PARAMETER, which older headers lack.
    struct {
        void *lowest, *highest;
        std::size_t alignment;
    } requirements{nullptr, nullptr, alignment};
    struct {
        alignas(8) std::uint64_t kind;
        union {
            std::uint64_t widest;
            void* pointer;
        };
    } parameter{1, {}};
    parameter.widest = 0;
    parameter.pointer = &requirements;
    return allocate(::GetCurrentProcess(), nullptr, size, type, PAGE_READWRITE, &parameter, 1);
}

/// Reserves so much that an aligned part lies in it, and then that part alone; which somebody else may have got in between.
void* find_aligned(std::size_t size, std::size_t alignment) {
    constexpr int tries = 64;
    if (size + alignment < size) return nullptr;
    for (int i = 0; i < tries; ++i) {
        void* const whole = ::VirtualAlloc(nullptr, size + alignment, MEM_RESERVE, PAGE_NOACCESS);
        if (whole == nullptr) return nullptr;
        const std::uintptr_t aligned = align_up(reinterpret_cast<std::uintptr_t>(whole), alignment);
        ::VirtualFree(whole, 0, MEM_RELEASE);
        void* const memory = ::VirtualAlloc(bytes(aligned), size, MEM_RESERVE, PAGE_NOACCESS);
        if (memory == nullptr) continue;
        if (::VirtualAlloc(memory, size, MEM_COMMIT, PAGE_READWRITE) != nullptr) return memory;
        ::VirtualFree(memory, 0, MEM_RELEASE);
        return nullptr;
    }
    return nullptr;
}

}  // namespace

std::size_t page_size() {
    static constinit Atomic<DWORD> known{0};
    if (known.load(relaxed) == 0) {
        SYSTEM_INFO info;
        ::GetSystemInfo(&info);
        known.store(info.dwPageSize, relaxed);
    }
    return known.load(relaxed);
}

void* map(std::size_t size, void* hint) {
    const KeepError keep;
    void* const memory = hint == nullptr ? nullptr : ::VirtualAlloc(hint, size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    return memory != nullptr ? memory : ::VirtualAlloc(nullptr, size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
}

void* map_aligned(std::size_t size, std::size_t alignment, bool large) {
    const KeepError keep;
    const auto allocate = functions.allocate.load(relaxed);
    alignment = std::max(alignment, granularity);
    if (large && allocate != nullptr && allow_large_pages()) {
        const std::size_t least = ::GetLargePageMinimum();
        if (least != 0 && size % least == 0 && alignment >= least)
            if (void* const memory = allocate_aligned(allocate, size, alignment, MEM_RESERVE | MEM_COMMIT | MEM_LARGE_PAGES);
                memory != nullptr)
                return memory;
    }
    return allocate != nullptr ? allocate_aligned(allocate, size, alignment, MEM_RESERVE | MEM_COMMIT) : find_aligned(size, alignment);
}

bool unmap(void* address, std::size_t size) {
    const KeepError keep;
    // One at a time: of two that give back the last parts of a reservation, the second must not release what took its place.
    static constinit Mutex lock;
    const Guard guard(lock);
    const auto begin = reinterpret_cast<std::uintptr_t>(address), end = begin + size;
    std::uintptr_t stop = begin;
    for (std::uintptr_t at = begin; at < end; at = stop) {
        Part part;
        bool committed = false;
        if (!query(at, end, part) || part.state == MEM_FREE) return false;
        const std::uintptr_t whole_end = reservation_end(at, committed);
        stop = std::min(end, whole_end);
        if (part.reservation != bytes(at) || stop != whole_end) {
            if (::VirtualFree(bytes(at), stop - at, MEM_DECOMMIT) == 0) return false;
            reservation_end(reinterpret_cast<std::uintptr_t>(part.reservation), committed);
            if (committed) continue;
        }
        if (::VirtualFree(part.reservation, 0, MEM_RELEASE) == 0) return false;
    }
    return true;
}

bool purge(void* address, std::size_t size) {
    const KeepError keep;
    const std::uintptr_t mask = page_size() - 1;
    if (((reinterpret_cast<std::uintptr_t>(address) | size) & mask) != 0) return false;
    return each_part(address, size, [](const Part& part) {
        if (part.accessible()) return empty(part);
        // protect() commits again.
        return !part.committed() || ::VirtualFree(part.start(), part.size(), MEM_DECOMMIT) != 0;
    });
}

/// Grows into what it gave back before, or behind its reservation where that is free.
bool resize(void* address, std::size_t old_size, std::size_t new_size) {
    const auto begin = reinterpret_cast<std::uintptr_t>(address);
    if (new_size < old_size) return unmap(bytes(begin + new_size), old_size - new_size);
    const KeepError keep;
    const std::uintptr_t from = begin + old_size, to = begin + new_size;
    Part last, next;
    if (!query(from - 1, from, last) || !query(from, to, next)) return false;
    if (next.state == MEM_RESERVE && next.reservation == last.reservation && next.end == to)
        return ::VirtualAlloc(bytes(from), to - from, MEM_COMMIT, PAGE_READWRITE) != nullptr;
    return next.state == MEM_FREE && next.end == to && is_aligned(from, granularity) &&
           ::VirtualAlloc(bytes(from), to - from, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE) != nullptr;
}

/// Nothing here moves pages, see can_move.
bool move(void*, std::size_t, void*, std::size_t) { return false; }

void* reserve(std::size_t size, bool accessible) {
    const KeepError keep;
    return ::VirtualAlloc(nullptr, size, accessible ? MEM_RESERVE | MEM_COMMIT : MEM_RESERVE, accessible ? PAGE_READWRITE : PAGE_NOACCESS);
}

std::size_t address_limit() { return SIZE_MAX; }

bool protect(void* address, std::size_t size, bool accessible) {
    const KeepError keep;
    return each_part(address, size, [accessible](const Part& part) {
        if (!part.committed()) return !accessible || ::VirtualAlloc(part.start(), part.size(), MEM_COMMIT, PAGE_READWRITE) != nullptr;
        DWORD before = 0;
        return ::VirtualProtect(part.start(), part.size(), accessible ? PAGE_READWRITE : PAGE_NOACCESS, &before) != 0;
    });
}

/// A dump holds what its writer is asked for, and never pages without access.
void dump(void*, std::size_t, bool) {}

std::size_t max_mappings() { return std::size_t{1} << 20; }

bool is_readable(const void* address, std::size_t size) {
    const KeepError keep;
    return each_part(address, size, [](const Part& part) { return part.accessible(); });
}

}  // namespace mpmm::os
