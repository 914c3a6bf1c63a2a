// SPDX-License-Identifier: Apache-2.0
#include "platform/roots.hpp"

#include "platform/modules.hpp"
#include "platform/raw_syscall.hpp"
#include "platform/reader.hpp"
#include "platform/thread_stacks.hpp"

#ifdef MPMM_RAW_SYSCALL

#include <algorithm>
#include <cstring>

namespace mpmm::roots {
namespace {

using modules::Mapping, modules::Mappings;

bool begins(const Mapping& mapping, const char* text) { return std::strncmp(mapping.path, text, std::strlen(text)) == 0; }

bool may_hold_roots(const Mapping& mapping, bool knows_presence) {
    if (!mapping.is_private || !mapping.readable || begins(mapping, "[v")) return false;
    if (begins(mapping, "/dev/") && !begins(mapping, "/dev/zero")) return false;
    // What can only be read may have been written before: the linker's tables, data a program protected. Where pages cannot be told from
    // the file's that would be all code.
    return mapping.writable || mapping.inode == 0 || knows_presence;
}

bool hidden_memory(std::uintptr_t address, std::uintptr_t& end) {
    for (const hidden::Range& range : hidden::ranges) {
        if (range.end <= address) continue;
        end = std::min(end, range.begin > address ? range.begin : range.end);
        if (range.begin <= address) return true;
    }
    return false;
}

/// Calls part(begin, end) for the program's parts of a mapping.
template <class Part>
void program_parts(const Mapping& mapping, Excluded excluded, void* context, const ThreadStacks* stacks, Part&& part) {
    for (std::uintptr_t at = mapping.start, end; at < mapping.end; at = end) {
        end = mapping.end;
        const bool ours = hidden_memory(at, end) || (stacks != nullptr && stacks->dead(at, end)) || excluded(context, at, end);
        if (end <= at) end = mapping.end;
        if (!ours) part(at, end);
    }
}

}  // namespace

bool visit(const stop_world::World& world, Excluded excluded, Visit visit, void* context) {
    Reader reader;
    if (!reader.ready()) return false;
    for (std::size_t i = 0; i < world.count; ++i) {
        const stop_world::Thread& thread = world.threads[i];
        visit(context, thread.registers, thread.registers + thread.register_count);
    }
    ThreadStacks stacks(world, reader);
    Mapping mapping;
    Mappings mappings;
    if (!mappings.open()) return false;
    while (mappings.next(mapping)) {
        if (!may_hold_roots(mapping, reader.knows_presence())) continue;
        if (begins(mapping, "[stack]")) stacks.main_stack(mapping.start, mapping.end);
        else if (mapping.writable && mapping.inode == 0 && !begins(mapping, "[heap]"))
            program_parts(mapping, excluded, context, nullptr,
                          [&](std::uintptr_t begin, std::uintptr_t end) { stacks.look_for_ended(begin, end); });
    }
    stacks.finish();
    if (!mappings.open()) return false;
    std::size_t count = 0;
    // Visiting may map memory for its own use; it is hidden, and the kernel goes on behind the last line's end.
    while (mappings.next(mapping)) {
        ++count;
        if (!may_hold_roots(mapping, reader.knows_presence())) continue;
        program_parts(mapping, excluded, context, &stacks, [&](std::uintptr_t begin, std::uintptr_t end) {
            reader.words(begin, end, Reader::Absent::is_zero_or_the_file, visit, context);
        });
    }
    return count != 0;
}

}  // namespace mpmm::roots

#else

namespace mpmm::roots {

bool visit(const stop_world::World&, Excluded, Visit, void*) { return false; }

}  // namespace mpmm::roots

#endif
