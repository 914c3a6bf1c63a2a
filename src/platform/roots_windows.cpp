// SPDX-License-Identifier: Apache-2.0
// Writable memory, be it the program's or its modules'; of stacks what is in use. The heaps of the system and of the C library count as the
// program's: who holds our block there has not lost it.
#include "platform/modules.hpp"
#include "platform/reader.hpp"
#include "platform/roots.hpp"

#include <algorithm>

namespace mpmm::roots {
namespace {

bool hidden_memory(std::uintptr_t address, std::uintptr_t& end) {
    for (const hidden::Range& range : hidden::ranges) {
        if (range.end <= address) continue;
        end = std::min(end, range.begin > address ? range.begin : range.end);
        if (range.begin <= address) return true;
    }
    return false;
}

}  // namespace

bool visit(const stop_world::World& world, Excluded excluded, Visit visit, void* context) {
    Reader reader;
    if (!reader.ready()) return false;
    for (std::size_t i = 0; i < world.count; ++i) {
        const stop_world::Thread& thread = world.threads[i];
        visit(context, thread.registers, thread.registers + thread.register_count);
    }
    modules::Mappings mappings;
    modules::Mapping mapping;
    mappings.open();
    while (mappings.next(mapping)) {
        if (!mapping.is_private || !mapping.writable) continue;
        std::uintptr_t begin = mapping.start;
        // Only what lies above a thread's stack pointer is in use in the mapping it is in.
        for (std::size_t i = 0; i < world.count; ++i)
            if (const std::uintptr_t sp = world.threads[i].sp; sp >= mapping.start && sp < mapping.end) begin = std::max(begin, sp);
        for (std::uintptr_t at = begin, end; at < mapping.end; at = end) {
            end = mapping.end;
            const bool ours = hidden_memory(at, end) || excluded(context, at, end);
            if (end <= at) end = mapping.end;
            if (!ours) reader.words(at, end, Reader::Absent::is_zero_or_the_file, visit, context);
        }
    }
    return true;
}

}  // namespace mpmm::roots
