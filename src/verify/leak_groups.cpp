// SPDX-License-Identifier: Apache-2.0
#include "verify/leak_groups.hpp"

#include "platform/os.hpp"
#include "verify/options.hpp"
#include "verify/symbolize.hpp"

#include <algorithm>
#include <cstring>

namespace mpmm::leak_groups {
namespace {

/// A report lists so many groups.
constexpr std::size_t most_listed = 64;

/// Whether `name` matches a pattern of [pattern, end), in which * stands for anything.
bool matches(const char* pattern, const char* end, const char* name) {
    const char *star = nullptr, *retry = nullptr;
    while (*name != 0) {
        if (pattern != end && *pattern == '*') {
            star = ++pattern;
            retry = name;
        } else if (pattern != end && *pattern == *name) {
            ++pattern;
            ++name;
        } else if (star != nullptr) {
            pattern = star;
            name = ++retry;
        } else {
            return false;
        }
    }
    while (pattern != end && *pattern == '*') ++pattern;
    return pattern == end;
}

/// Whether one of the patterns, separated by +, matches the function's name with or without its parameters.
bool suppressed(const char* patterns, const char* function) {
    char bare[256];
    const std::size_t length = std::min(std::strcspn(function, "("), sizeof bare - 1);
    std::memcpy(bare, function, length);
    bare[length] = 0;
    while (*patterns != 0) {
        const char* const end = patterns + std::strcspn(patterns, "+");
        if (patterns != end && (matches(patterns, end, function) || matches(patterns, end, bare))) return true;
        patterns = *end == 0 ? end : end + 1;
    }
    return false;
}

}  // namespace

void Table::add(std::uint32_t stack, bool direct, std::size_t size, const void* block) {
    // An open hash table, packed by report().
    std::size_t at = (stack * 2654435761u + (direct ? 1 : 0)) % capacity;
    for (std::size_t tried = 0; tried + 1 < capacity; ++tried, at = (at + 1) % capacity) {
        report::Leak& group = groups_[at];
        if (group.blocks == 0) {
            if (count_ + 1 == capacity) break;
            ++count_;
            group = {stack, 0, 0, direct, block};
        }
        if (group.stack != stack || group.direct != direct) continue;
        group.bytes += size;
        ++group.blocks;
        return;
    }
    groups_[at].bytes += size;
    ++groups_[at].blocks;
}

/// Names all functions in one go, because naming runs a program.
void Table::suppress() {
    const char* const patterns = options::get(options::suppressions);
    if (*patterns == 0 || count_ == 0) return;
    std::size_t total = 0;
    const std::uintptr_t* frames = nullptr;
    for (std::size_t i = 0; i < count_; ++i) total += stack_depot::get(groups_[i].stack, frames);
    const std::size_t bytes_needed = (total + 1) * (sizeof(std::uintptr_t) + sizeof(std::uint32_t));
    auto* const addresses = static_cast<std::uintptr_t*>(os::reserve(bytes_needed, true));
    if (addresses == nullptr) return;
    auto* const group_of = reinterpret_cast<std::uint32_t*>(addresses + total);
    std::size_t at = 0;
    for (std::size_t i = 0; i < count_; ++i) {
        const std::size_t depth = stack_depot::get(groups_[i].stack, frames);
        for (std::size_t f = 0; f < depth; ++f, ++at) {
            addresses[at] = frames[f];
            group_of[at] = static_cast<std::uint32_t>(i);
        }
    }
    struct Context {
        report::Leak* groups;
        const std::uint32_t* group_of;
        const char* patterns;
    } context{groups_, group_of, patterns};
    symbolize::all(
        addresses, total, options::get(options::symbolizer),
        [](void* of, std::size_t index, const symbolize::Frame& frame) {
            const auto& [groups, owner, text] = *static_cast<Context*>(of);
            if (suppressed(text, frame.function)) groups[owner[index]].blocks = 0;
        },
        &context);
    os::unmap(addresses, bytes_needed);
    count_ = static_cast<std::size_t>(std::remove_if(groups_, groups_ + count_, [](const report::Leak& leak) { return leak.blocks == 0; }) -
                                      groups_);
}

std::size_t Table::report() {
    count_ = static_cast<std::size_t>(
        std::remove_if(groups_, groups_ + capacity, [](const report::Leak& leak) { return leak.blocks == 0; }) - groups_);
    suppress();
    if (count_ == 0) return 0;
    std::sort(groups_, groups_ + count_, [](const report::Leak& a, const report::Leak& b) {
        return a.direct != b.direct ? a.direct : a.bytes != b.bytes ? a.bytes > b.bytes : a.stack < b.stack;
    });
    std::size_t sum = 0, blocks = 0;
    for (std::size_t i = 0; i < count_; ++i) {
        sum += groups_[i].bytes;
        blocks += groups_[i].blocks;
    }
    report::Error error;
    error.kind = report::Kind::leak;
    error.address = groups_[0].example;
    set_place(error, unwind::caller());
    error.what.decimal(sum).text(" byte(s) in ").decimal(blocks).text(" block(s) that nothing points to");
    error.leaks = groups_;
    error.leak_count = std::min(count_, most_listed);
    if (count_ > most_listed) error.what.text("; the biggest ").decimal(most_listed).text(" of ").decimal(count_).text(" groups");
    error.leaked_bytes = sum;
    error.leaked_blocks = blocks;
    report::error(error);
    return blocks;
}

}  // namespace mpmm::leak_groups
