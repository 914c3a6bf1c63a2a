// SPDX-License-Identifier: Apache-2.0
#include "platform/reader.hpp"

#include "platform/raw_syscall.hpp"

#ifdef MPMM_RAW_SYSCALL

#include <algorithm>
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

namespace mpmm {
namespace {

// thread-self, because the directory of a process whose main thread ended shows no memory.
int open(const char* name) { return static_cast<int>(raw_syscall(SYS_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC, 0)); }

/// ioctl on pagemap, since Linux 6.7: the ranges of pages that have some properties, without a look at each page of a reservation. Declared
/// here because older systems' headers do not have it.
struct ScanArguments {
    std::uint64_t size, flags, start, end, walk_end, regions, region_count, max_pages;
    std::uint64_t inverted, all_of, any_of, returned;
};
struct ScanRegion {
    std::uint64_t start, end, properties;
};
constexpr unsigned long pagemap_scan = 3UL << 30 | sizeof(ScanArguments) << 16 | 'f' << 8 | 16;
constexpr std::uint64_t scan_file = 4, scan_present = 8, scan_swapped = 16;

/// Proc.5, pagemap: one word a page.
bool holds_data(std::uint64_t page, Reader::Absent absent) {
    constexpr std::uint64_t present = std::uint64_t{1} << 63, swapped = std::uint64_t{1} << 62, file_or_shared = std::uint64_t{1} << 61;
    if ((page & (present | swapped)) == 0) return false;
    return absent != Reader::Absent::is_zero_or_the_file || (page & file_or_shared) == 0;
}

}  // namespace

Reader::Reader()
    : buffer_(copy_size_ + presence_count_ * sizeof(std::uint64_t)), page_(os::page_size()), page_map_(open("/proc/thread-self/pagemap")) {}

Reader::~Reader() {
    if (page_map_ >= 0) raw_syscall(SYS_close, page_map_);
    if (memory_ >= 0) raw_syscall(SYS_close, memory_);
}

std::size_t Reader::copy(void* to, std::uintptr_t from, std::size_t size) {
    if (by_vector_) {
        iovec local{to, size}, remote{reinterpret_cast<void*>(from), size};
        const long copied = raw_syscall(SYS_process_vm_readv, raw_syscall(SYS_gettid), &local, 1, &remote, 1, 0);
        if (copied >= 0) return static_cast<std::size_t>(copied);
        constexpr long bad_address = -14;
        if (copied == bad_address) return 0;
        // A sandbox forbids it, or the kernel is older.
        by_vector_ = false;
        memory_ = open("/proc/thread-self/mem");
    }
    if (memory_ < 0) return 0;
    const long copied = raw_pread(memory_, to, size, from);
    return copied < 0 ? 0 : static_cast<std::size_t>(copied);
}

void Reader::read(std::uintptr_t begin, std::uintptr_t end, Visit visit, void* context) {
    auto* const buffer = buffer_.as<std::uintptr_t>();
    while (begin < end) {
        const std::uintptr_t next_page = (begin | (page_ - 1)) + 1;
        std::size_t copied = copy(buffer, begin, std::min(end - begin, copy_size_));
        // The kernel may refuse the whole when a later page is bad.
        if (copied == 0) copied = copy(buffer, begin, std::min(end, next_page) - begin);
        copied -= copied % sizeof(std::uintptr_t);
        if (copied != 0) visit(context, buffer, buffer + copied / sizeof(std::uintptr_t));
        begin = copied != 0 ? begin + copied : next_page;
    }
}

bool Reader::scan(std::uintptr_t& begin, std::uintptr_t end, Absent absent, Visit visit, void* context) {
    auto* const regions = reinterpret_cast<ScanRegion*>(buffer_.as<char>() + copy_size_);
    const std::uint64_t never = absent == Absent::is_zero_or_the_file ? scan_file : 0;
    while (begin < end) {
        ScanArguments arguments{};
        arguments.size = sizeof arguments;
        arguments.start = begin & ~(page_ - 1);
        arguments.end = (end + page_ - 1) & ~(page_ - 1);
        arguments.regions = reinterpret_cast<std::uintptr_t>(regions);
        arguments.region_count = presence_count_ * sizeof(std::uint64_t) / sizeof(ScanRegion);
        arguments.inverted = arguments.all_of = never;
        arguments.any_of = arguments.returned = scan_present | scan_swapped;
        const long count = raw_syscall(SYS_ioctl, page_map_, pagemap_scan, &arguments);
        if (count < 0 || arguments.walk_end <= arguments.start) return false;
        for (long i = 0; i < count; ++i)
            read(std::max(begin, static_cast<std::uintptr_t>(regions[i].start)), std::min(end, static_cast<std::uintptr_t>(regions[i].end)),
                 visit, context);
        begin = std::max(begin, static_cast<std::uintptr_t>(arguments.walk_end));
    }
    return true;
}

void Reader::words(std::uintptr_t begin, std::uintptr_t end, Absent absent, Visit visit, void* context) {
    constexpr std::uintptr_t mask = sizeof(std::uintptr_t) - 1;
    begin = (begin + mask) & ~mask;
    end &= ~mask;
    // Where it stops, what follows does the rest.
    if (absent != Absent::may_hold_data && knows_presence() && scan(begin, end, absent, visit, context)) return;
    auto* const presence = reinterpret_cast<std::uint64_t*>(buffer_.as<char>() + copy_size_);
    while (begin < end) {
        const std::uintptr_t first = begin / page_;
        const std::uintptr_t stop = std::min(end, (first + presence_count_) * page_);
        const std::size_t wanted = ((stop - 1) / page_ - first + 1) * sizeof(std::uint64_t);
        if (absent == Absent::may_hold_data || !knows_presence() ||
            raw_pread(page_map_, presence, wanted, std::uint64_t{first} * sizeof(std::uint64_t)) != static_cast<long>(wanted)) {
            read(begin, stop, visit, context);
            begin = stop;
            continue;
        }
        while (begin < stop) {
            const bool data = holds_data(presence[begin / page_ - first], absent);
            std::uintptr_t run = (begin / page_ + 1) * page_;
            while (run < stop && holds_data(presence[run / page_ - first], absent) == data) run += page_;
            run = std::min(run, stop);
            if (data) read(begin, run, visit, context);
            begin = run;
        }
    }
}

}  // namespace mpmm

#else

namespace mpmm {

// Elsewhere nothing can be read without the risk of a fault.
Reader::Reader() : page_(os::page_size()), page_map_(-1) {}
Reader::~Reader() = default;
std::size_t Reader::copy(void*, std::uintptr_t, std::size_t) { return 0; }
void Reader::read(std::uintptr_t, std::uintptr_t, Visit, void*) {}
void Reader::words(std::uintptr_t, std::uintptr_t, Absent, Visit, void*) {}

}  // namespace mpmm

#endif
