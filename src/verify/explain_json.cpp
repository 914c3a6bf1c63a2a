// SPDX-License-Identifier: Apache-2.0
// A report as one JSON object in one line, described by docs/report.schema.json.
#include "platform/os.hpp"
#include "verify/error.hpp"
#include "verify/options.hpp"
#include "verify/symbolize.hpp"
#include "verify/threads.hpp"

namespace mpmm::report {
namespace {

/// Addresses are strings: JSON's numbers lose their low bits in many readers.
Writer& quoted_hex(Writer& out, std::uint64_t value) { return out.text("\"").hex(value).text("\""); }
Writer& quoted_address(Writer& out, const void* value) { return quoted_hex(out, reinterpret_cast<std::uintptr_t>(value)); }

struct FrameList {
    Writer& out;
    bool first = true;
};

void add_frame(void* context, std::size_t, const symbolize::Frame& frame) {
    auto& [out, first] = *static_cast<FrameList*>(context);
    quoted_hex(out.text(first ? "{\"pc\":" : ",{\"pc\":"), frame.pc);
    first = false;
    if (*frame.function != 0) out.text(",\"function\":").quoted(frame.function);
    if (*frame.file != 0) out.text(",\"file\":").quoted(frame.file);
    if (frame.line != 0) out.text(",\"line\":").decimal(frame.line);
    if (frame.column != 0) out.text(",\"column\":").decimal(frame.column);
    if (*frame.module != 0) quoted_hex(out.text(",\"module\":").quoted(frame.module).text(",\"offset\":"), frame.offset);
    out.text(frame.inlined ? ",\"inlined\":true}" : "}");
}

void stack(Writer& out, const std::uintptr_t* frames, std::size_t count) {
    FrameList list{out};
    out.text("[");
    symbolize::all(frames, count, options::get(options::symbolizer), &add_frame, &list);
    out.text("]");
}

void stored_stack(Writer& out, std::uint32_t number) {
    const std::uintptr_t* frames = nullptr;
    const std::size_t count = stack_depot::get(number, frames);
    stack(out, frames, count);
}

void thread(Writer& out, std::uint16_t number) {
    char name[16];
    verify_threads::name(number, name, sizeof name);
    out.text("{\"id\":").decimal(number).text(",\"name\":").quoted(name).text("}");
}

void event(Writer& out, const char* key, std::uint16_t who, std::uint32_t where) {
    thread(out.text(",\"").text(key).text("\":{\"thread\":"), who);
    stored_stack(out.text(",\"stack\":"), where);
    out.text("}");
}

void block(Writer& out, const Error& error) {
    const BlockFacts& facts = error.block;
    quoted_address(out.text(",\"block\":{\"begin\":"), facts.begin).text(",\"size\":").decimal(facts.size);
    const auto offset = static_cast<const std::byte*>(error.address) - facts.begin;
    out.text(",\"offset\":").text(offset < 0 ? "-" : "").decimal(static_cast<std::uint64_t>(offset < 0 ? -offset : offset));
    out.text(",\"family\":").quoted(name(facts.family)).text(",\"state\":").quoted(facts.freed ? "freed" : "live");
    out.text(",\"guarded\":").text(facts.guarded ? "true" : "false").text(",\"sequence\":").decimal(facts.sequence);
    event(out, "allocated", facts.alloc_thread, facts.alloc_stack);
    if (facts.freed) event(out, "freed", facts.free_thread, facts.free_stack);
    out.text("}");
}

void dump(Writer& out, const Dump& memory) {
    quoted_address(out.text(",\"memory\":{\"begin\":"), memory.begin).text(",\"bytes\":\"");
    for (const std::byte* at = memory.begin; at < memory.end; ++at) out.byte(*at);
    quoted_address(out.text("\",\"bad_begin\":"), memory.bad_begin);
    quoted_address(out.text(",\"bad_end\":"), memory.bad_end).text("}");
}

void words(Writer& out, const char* key, const std::uint64_t* map, unsigned count) {
    out.text(",\"").text(key).text("\":[");
    for (unsigned w = 0; w < count; ++w) quoted_hex(out.text(w == 0 ? "" : ","), map[w]);
    out.text("]");
}

void allocator(Writer& out, const AllocatorFacts& facts) {
    quoted_address(out.text(",\"block_allocator\":{\"address\":"), facts.allocator);
    quoted_address(out.text(",\"base\":"), facts.base).text(",\"block_size\":").decimal(facts.block_size);
    out.text(",\"blocks\":").decimal(facts.blocks).text(",\"index\":").decimal(facts.index).text(",\"state\":").quoted(facts.state);
    quoted_hex(out.text(",\"owner_word\":"), facts.owner_word);
    words(out, "free_map", facts.free_map, facts.words);
    words(out, "remote_map", facts.remote_map, facts.words);
    out.text("}");
}

}  // namespace

void write_json(Writer& out, const Error& error) {
    out.text("{\"tool\":\"mpmm\",\"version\":\"" MPMM_VERSION "\",\"pid\":").decimal(static_cast<std::uint64_t>(os::process_id()));
    out.text(",\"kind\":").quoted(name(error.kind));
    quoted_address(out.text(",\"address\":"), error.address);
    quoted_hex(out.text(",\"pc\":"), error.stack.count != 0 ? error.stack.frames[0] : 0);
    thread(out.text(",\"thread\":"), error.thread);
    out.text(",\"description\":").quoted(error.what.c_str()).text(",\"stack\":");
    stack(out, error.stack.frames, error.stack.count);
    if (error.has_block) block(out, error);
    if (error.dump.begin != nullptr) dump(out, error.dump);
    if (error.allocator.allocator != nullptr) allocator(out, error.allocator);
    if (error.invariant != nullptr) {
        quoted_hex(out.text(",\"invariant\":{\"name\":").quoted(error.invariant).text(",\"found\":"), error.found);
        quoted_hex(out.text(",\"expected\":"), error.expected).text("}");
    }
    if (error.leaks != nullptr) {
        out.text(",\"leaks\":[");
        for (std::size_t i = 0; i < error.leak_count; ++i) {
            const Leak& leak = error.leaks[i];
            out.text(i == 0 ? "" : ",").text("{\"direct\":").text(leak.direct ? "true" : "false").text(",\"bytes\":").decimal(leak.bytes);
            out.text(",\"blocks\":").decimal(leak.blocks);
            quoted_address(out.text(",\"example\":"), leak.example);
            stored_stack(out.text(",\"stack\":"), leak.stack);
            out.text("}");
        }
        out.text("]");
    }
    out.text("}\n");
}

}  // namespace mpmm::report
