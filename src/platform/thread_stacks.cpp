// SPDX-License-Identifier: Apache-2.0
#include "platform/thread_stacks.hpp"

#include <algorithm>
#include <cstring>

namespace mpmm {
namespace {

// A leaf function keeps variables below the stack pointer, in the red zone.
#if defined(__x86_64__)
constexpr std::uintptr_t red_zone = 128;
#else
constexpr std::uintptr_t red_zone = 0;
#endif

constexpr std::uintptr_t header_alignment = 64;
// Words of the header: two point at itself, the one between at the table of the thread's thread-local memory.
constexpr std::size_t tcb = 0, dtv = 1, self = 2;

int number_at(const std::uintptr_t* words, std::size_t index) {
    int value;
    std::memcpy(&value, reinterpret_cast<const char*>(words) + index * sizeof value, sizeof value);
    return value;
}

}  // namespace

ThreadStacks::ThreadStacks(const stop_world::World& world, Reader& reader)
    : world_(world), reader_(reader), memory_(max_dead_ * sizeof(Range)) {
    // When others run their stack pointers are unknown, and the next moment's would be others.
    if (world.result != stop_world::Result::stopped) return;
    for (std::size_t i = 0; i < world.count; ++i) all_known_ &= world.threads[i].thread_pointer != 0;
    find_tid_offset();
    for (std::size_t i = 0; i < world.count; ++i) {
        const stop_world::Thread& thread = world.threads[i];
        Header header;
        Range block;
        std::uintptr_t lowest;
        if (thread.thread_pointer == 0 || !read_header(thread.thread_pointer, header) ||
            !find_stack(thread.thread_pointer, header, block, lowest))
            continue;
        // On another stack, of a signal or a fiber: where its own one ends is written on that, so all of it may be in use.
        if (thread.sp >= lowest && thread.sp < block.end) add(lowest, thread.sp - red_zone);
    }
}

bool ThreadStacks::read_header(std::uintptr_t pointer, Header& header) {
    // Mapped memory may end soon after the fields.
    std::memset(&header, 0, sizeof header);
    return reader_.copy(&header, pointer, sizeof header) >= sizeof header / 2 && header.words[tcb] == pointer &&
           header.words[self] == pointer;
}

bool ThreadStacks::find_stack(std::uintptr_t pointer, const Header& header, Range& block, std::uintptr_t& lowest) {
    // The block ends with the record, rounded up, and holds the static TLS and some stack below it.
    constexpr std::uintptr_t least = 4096, behind = sizeof(Header) + 4096;
    for (std::size_t i = self + 1; i + 2 < header_words_; ++i) {
        const std::uintptr_t begin = header.words[i], size = header.words[i + 1], guard = header.words[i + 2];
        // A small number is no address, but with one behind it that points into the record it would do.
        if (begin < least || begin >= pointer - least || size > UINTPTR_MAX - begin || guard >= size) continue;
        if (begin + size <= pointer || begin + size > pointer + behind) continue;
        block = {begin, begin + size};
        lowest = begin + guard;
        return true;
    }
    return false;
}

void ThreadStacks::find_tid_offset() {
    // The first place where every thread has its number.
    constexpr std::size_t in_word = sizeof(std::uintptr_t) / sizeof(int), after_self = in_word * (self + 1),
                          numbers = in_word * header_words_;
    bool possible[numbers];
    std::fill(possible, possible + numbers, true);
    bool any = false;
    for (std::size_t i = 0; i < world_.count; ++i) {
        const stop_world::Thread& thread = world_.threads[i];
        Header header;
        if (thread.thread_pointer == 0 || !read_header(thread.thread_pointer, header)) continue;
        // A thread that runs its first instructions has the number already: the kernel writes it.
        for (std::size_t at = after_self; at < numbers; ++at) possible[at] &= number_at(header.words, at) == thread.tid;
        any = true;
    }
    if (!any) return;
    const bool* const found = std::find(possible + after_self, possible + numbers, true);
    if (found != possible + numbers) tid_at_ = static_cast<std::size_t>(found - possible);
}

bool ThreadStacks::live(std::uintptr_t pointer) const {
    for (std::size_t i = 0; i < world_.count; ++i)
        if (world_.threads[i].thread_pointer == pointer) return true;
    return false;
}

void ThreadStacks::look_for_ended(std::uintptr_t begin, std::uintptr_t end) {
    if (world_.result != stop_world::Result::stopped) return;
    // A copy does not tell where it comes from, but a header does: it points at itself. Its alignment survives the copying of whole pages.
    const auto visit = [](void* context, const std::uintptr_t* from, const std::uintptr_t* to) {
        auto& stacks = *static_cast<ThreadStacks*>(context);
        constexpr std::size_t step = header_alignment / sizeof(std::uintptr_t);
        for (; from + self < to; from += step)
            if (from[tcb] != 0 && from[tcb] == from[self] && from[tcb] % header_alignment == 0 && !stacks.live(from[tcb]))
                stacks.ended(from[tcb]);
    };
    reader_.words((begin + header_alignment - 1) & ~(header_alignment - 1), end, Reader::Absent::is_zero, visit, this);
}

void ThreadStacks::ended(std::uintptr_t pointer) {
    Header header;
    Range block;
    std::uintptr_t lowest;
    if (!read_header(pointer, header) || !find_stack(pointer, header, block, lowest)) return;
    const int tid = tid_at_ != 0 ? number_at(header.words, tid_at_) : 0;
    // A thread whose thread pointer we could not read has a record like any other.
    if (tid > 0 || (tid_at_ == 0 && !all_known_)) return;
    // joinid, which is the thread itself when it is detached.
    bool detached = false;
    for (std::size_t i = self + 1; i < header_words_; ++i) detached |= header.words[i] == pointer;
    // Not joined yet: what it returned waits in the record. pthread_join leaves -1.
    const bool joinable = tid_at_ == 0 || (tid == 0 && !detached);
    // The next thread that gets the stack gets its table of thread-local memory, too: that one is in use.
    add(lowest, pointer + dtv * sizeof(std::uintptr_t));
    if (!joinable) add(pointer + (dtv + 1) * sizeof(std::uintptr_t), block.end);
}

void ThreadStacks::main_stack(std::uintptr_t begin, std::uintptr_t end) {
    if (world_.result != stop_world::Result::stopped) return;
    // The main thread has its stack pointer there, or it is on a signal's or fiber's stack, or it ended.
    std::uintptr_t lowest = UINTPTR_MAX;
    for (std::size_t i = 0; i < world_.count; ++i)
        if (world_.threads[i].sp >= begin && world_.threads[i].sp < end) lowest = std::min(lowest, world_.threads[i].sp);
    if (lowest != UINTPTR_MAX) add(begin, lowest - red_zone);
}

void ThreadStacks::add(std::uintptr_t begin, std::uintptr_t end) {
    // Without room the stack counts as in use.
    if (begin < end && count_ < memory_.size() / sizeof(Range)) memory_.as<Range>()[count_++] = {begin, end};
}

void ThreadStacks::finish() {
    Range* const ranges = memory_.as<Range>();
    std::sort(ranges, ranges + count_, [](const Range& a, const Range& b) { return a.begin < b.begin; });
}

bool ThreadStacks::dead(std::uintptr_t address, std::uintptr_t& end) const {
    const Range* const ranges = memory_.as<Range>();
    const Range* const next =
        std::upper_bound(ranges, ranges + count_, address, [](std::uintptr_t value, const Range& range) { return value < range.begin; });
    if (next != ranges + count_) end = std::min(end, next->begin);
    if (next == ranges || next[-1].end <= address) return false;
    end = std::min(end, next[-1].end);
    return true;
}

}  // namespace mpmm
