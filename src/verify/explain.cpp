// SPDX-License-Identifier: Apache-2.0
// A report as text, in the order that AddressSanitizer made known: what, where now, which block, freed where, allocated where.
#include "platform/os.hpp"
#include "verify/error.hpp"
#include "verify/options.hpp"
#include "verify/symbolize.hpp"
#include "verify/threads.hpp"
#include "verify/trace.hpp"

namespace mpmm::report {
namespace {

constexpr const char* rule = "=================================================================\n";

/// All stacks of a report are named in one go, because naming runs a program. A section is a stack with what is said before it.
struct Section {
    const std::uintptr_t* frames;
    std::size_t count;
    void (*heading)(Writer& out, const Error& error, std::size_t number);
    std::size_t number;
};

constexpr std::size_t summary_size = 512;
constexpr std::size_t max_sections = 68, max_addresses = max_sections * stack_depot::max_frames;
std::uintptr_t addresses[max_addresses];  // under the report lock

struct Progress {
    Writer& out;
    const Error& error;
    const Section* section;
    std::size_t sections;
    char* summary;                    // place and function for the last line
    std::size_t at = 0;               // the section being written
    std::size_t end = 0;              // index of the address that begins the next
    std::size_t frame = 0;            // number of the line
    std::size_t summary_section = 0;  // of which section
};

void begin_section(Progress& progress) {
    const Section& section = progress.section[progress.at++];
    if (section.heading != nullptr) section.heading(progress.out, progress.error, section.number);
    progress.end += section.count;
    progress.frame = 0;
}

void add_frame(void* context, std::size_t index, const symbolize::Frame& frame) {
    auto& progress = *static_cast<Progress*>(context);
    while (index >= progress.end) begin_section(progress);
    Writer& out = progress.out;
    out.text("    #").decimal(progress.frame).text(" ").hex(frame.pc);
    if (*frame.function != 0) out.text(" in ").text(frame.function);
    if (*frame.file != 0) {
        out.text(" ").text(frame.file);
        if (frame.line != 0) out.text(":").decimal(frame.line);
        if (frame.line != 0 && frame.column != 0) out.text(":").decimal(frame.column);
    } else if (*frame.module != 0) {
        out.text(" (").text(frame.module).text("+").hex(frame.offset).text(")");
    }
    out.text("\n");
    if (progress.frame++ == 0 && progress.at - 1 == progress.summary_section) {
        Writer summary(progress.summary, summary_size);
        if (*frame.file != 0) summary.text(" ").text(frame.file).text(":").decimal(frame.line);
        else if (*frame.module != 0) summary.text(" (").text(frame.module).text("+").hex(frame.offset).text(")");
        if (*frame.function != 0) summary.text(" in ").text(frame.function);
    }
}

Writer& thread(Writer& out, std::uint16_t number) {
    char name[16];
    verify_threads::name(number, name, sizeof name);
    out.text("T").decimal(number);
    if (*name != 0) out.text(" (").text(name).text(")");
    return out;
}

/// Where the address lies relative to the block.
void relation(Writer& out, const Error& error) {
    const BlockFacts& block = error.block;
    const auto* const address = static_cast<const std::byte*>(error.address);
    const std::byte* const end = block.begin + block.size;
    out.address(address).text(" is located ");
    if (address < block.begin) out.decimal(static_cast<std::uint64_t>(block.begin - address)).text(" bytes before ");
    else if (address >= end && address != block.begin) out.decimal(static_cast<std::uint64_t>(address - end)).text(" bytes after ");
    else out.decimal(static_cast<std::uint64_t>(address - block.begin)).text(" bytes inside of ");
    out.decimal(block.size).text("-byte region [").address(block.begin).text(",").address(end).text(")");
    out.text("\n");
}

void block_heading(Writer& out, const Error& error, std::size_t) { relation(out, error); }
void free_heading(Writer& out, const Error& error, std::size_t) {
    thread(out.text("freed by thread "), error.block.free_thread).text(" here:\n");
}
void alloc_heading(Writer& out, const Error& error, std::size_t) {
    thread(out.text(error.block.freed ? "previously allocated by thread " : "allocated by thread "), error.block.alloc_thread)
        .text(" here:\n");
}
void leak_heading(Writer& out, const Error& error, std::size_t number) {
    const Leak& leak = error.leaks[number];
    out.text(leak.direct ? "\nDirect leak of " : "\nIndirect leak of ").decimal(leak.bytes).text(" byte(s) in ").decimal(leak.blocks);
    out.text(" object(s) allocated from:\n");
}

/// Sixteen bytes a line; the wrong ones in brackets.
void hexdump(Writer& out, const Dump& dump) {
    out.text("Memory around the changed bytes (in brackets):\n");
    const auto first = reinterpret_cast<std::uintptr_t>(dump.begin) & ~std::uintptr_t{15};
    for (auto line = reinterpret_cast<const std::byte*>(first); line < dump.end; line += 16) {
        const bool bad = line < dump.bad_end && line + 16 > dump.bad_begin;
        out.text(bad ? "=>" : "  ").address(line).text(":");
        for (const std::byte* at = line; at < line + 16; ++at) {
            const bool wrong = at >= dump.bad_begin && at < dump.bad_end;
            const bool closes = at - 1 >= dump.bad_begin && at - 1 < dump.bad_end && at != line && !wrong;
            out.text(wrong && (at == dump.bad_begin || at == line) ? "[" : closes ? "]" : " ");
            if (at < dump.begin || at >= dump.end) out.text("  ");
            else out.byte(*at);
        }
        out.text(line + 15 >= dump.bad_begin && line + 15 < dump.bad_end ? "]\n" : "\n");
    }
}

void allocator(Writer& out, const AllocatorFacts& facts) {
    out.text("Block allocator ").address(facts.allocator).text(" of ").decimal(facts.blocks).text(" blocks of ").decimal(facts.block_size);
    out.text(" bytes at ").address(facts.base).text(", ").text(facts.state).text(" (owner word ").hex(facts.owner_word).text("), block ");
    out.decimal(facts.index).text(" of it\n");
    const unsigned word = facts.index / 64, from = word == 0 ? 0 : word - 1, to = word + 2 < facts.words ? word + 2 : facts.words;
    for (unsigned w = from; w < to; ++w) {
        out.text(w == word ? "=>" : "  ")
            .text("word ")
            .decimal(w)
            .text(": free ")
            .hex(facts.free_map[w])
            .text(" remote ")
            .hex(facts.remote_map[w]);
        if (w == word) out.text("  bit ").decimal(facts.index % 64);
        out.text("\n");
    }
}

void leak_summary(Writer& out, const Error& error) {
    out.text("\nSUMMARY: mpmm: ")
        .decimal(error.leaked_bytes)
        .text(" byte(s) leaked in ")
        .decimal(error.leaked_blocks)
        .text(" allocation(s).\n");
}

}  // namespace

void write_text(Writer& out, const Error& error) {
    out.text(rule).text("==").decimal(static_cast<std::uint64_t>(os::process_id())).text("==ERROR: mpmm: ").text(name(error.kind));
    out.text(" on address ").address(error.address).text(" (pc ").hex(error.stack.count != 0 ? error.stack.frames[0] : 0);
    out.text(" thread T").decimal(error.thread).text(")\n");
    if (*error.what.c_str() != 0) out.text(error.what.c_str()).text("\n");

    // Under the report lock, and not on what may be a small signal stack.
    static Section sections[max_sections];
    std::size_t count = 0, named = 0;
    const auto add = [&](std::uint32_t stack, auto* heading, std::size_t number) {
        if (count == max_sections) return;
        Section& section = sections[count++];
        section = {nullptr, 0, heading, number};
        section.count = stack_depot::get(stack, section.frames);
    };
    if (error.leaks == nullptr) sections[count++] = {error.stack.frames, error.stack.count, nullptr, 0};
    if (error.has_block) {
        sections[count++] = {nullptr, 0, &block_heading, 0};
        if (error.block.freed) add(error.block.free_stack, &free_heading, 0);
        add(error.block.alloc_stack, &alloc_heading, 0);
    }
    for (std::size_t i = 0; i < error.leak_count; ++i) add(error.leaks[i].stack, &leak_heading, i);
    for (std::size_t s = 0; s < count; ++s)
        for (std::size_t i = 0; i < sections[s].count; ++i) addresses[named++] = sections[s].frames[i];
    static char summary[summary_size];
    *summary = 0;
    Progress progress{out, error, sections, count, summary};
    // Damage is found by whoever looks, which says nothing: who freed the block, or allocated it, is where to begin.
    if (error.dump.begin != nullptr && error.has_block) progress.summary_section = error.kind == Kind::heap_use_after_free ? 2 : count - 1;
    symbolize::all(addresses, named, options::get(options::symbolizer), &add_frame, &progress);
    while (progress.at < count) begin_section(progress);

    if (error.dump.begin != nullptr) hexdump(out, error.dump);
    if (error.allocator.allocator != nullptr) allocator(out, error.allocator);
    trace::write(out);
    if (error.leaks != nullptr) leak_summary(out, error);
    else out.text("SUMMARY: mpmm: ").text(name(error.kind)).text(progress.summary).text("\n");
}

}  // namespace mpmm::report
