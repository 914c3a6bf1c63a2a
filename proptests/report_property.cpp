// SPDX-License-Identifier: Apache-2.0
// Reports as JSON: whatever the facts and the bytes of the names, another JSON reader finds the same facts, and the schema holds.
#include "verify/error.hpp"
#include "verify/options.hpp"
#include "verify/threads.hpp"

#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <gtest/gtest.h>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>
#include <pthread.h>
#include <rapidcheck.h>
#include <regex>
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

namespace mpmm::report {
namespace {

using nlohmann::json;
using Frames = std::vector<std::uintptr_t>;

/// Bytes of all kinds, and those that JSON, the kernel or a terminal take for something else.
rc::Gen<std::string> any_bytes(int most) {
    const auto byte = rc::gen::oneOf(rc::gen::map(rc::gen::inRange(1, 256), [](int c) { return static_cast<char>(c); }),
                                     rc::gen::elementOf(std::string("ab/\"\\\n\t\x01\x1b\x7f\x80\xc3\xa9\xff u0")));
    return rc::gen::resize(most, rc::gen::container<std::string>(byte));
}

rc::Gen<Frames> any_frames() { return rc::gen::resize(20, rc::gen::container<Frames>(rc::gen::arbitrary<std::uintptr_t>())); }

struct LeakFacts {
    Frames stack;
    std::size_t bytes, blocks;
    bool direct;
    std::uintptr_t example;
};

/// An Error, with its parts that lie elsewhere.
struct Facts {
    std::string what, thread, invariant, state, module;
    bool has_block, has_dump, has_allocator, has_invariant, has_leaks;
    Frames stack, alloc_stack, free_stack;
    BlockFacts block;
    std::ptrdiff_t offset;
    std::vector<unsigned char> memory;
    std::vector<std::uint64_t> free_map, remote_map;
    std::vector<LeakFacts> leaks;
    Error error;
};

Facts any_facts() {
    Facts facts;
    const auto any = [] { return *rc::gen::arbitrary<std::uint64_t>(); };
    const auto yes = [] { return *rc::gen::arbitrary<bool>(); };
    const auto address = [&] { return reinterpret_cast<std::byte*>(any()); };
    facts.what = *any_bytes(200);
    facts.thread = *any_bytes(15);
    facts.invariant = *any_bytes(50);
    facts.state = *any_bytes(20);
    facts.module = *any_bytes(100);
    facts.has_block = yes();
    facts.has_dump = yes();
    facts.has_allocator = yes();
    facts.has_invariant = yes();
    facts.has_leaks = yes();
    facts.stack = *any_frames();
    facts.alloc_stack = *any_frames();
    facts.free_stack = *any_frames();
    facts.offset = *rc::gen::arbitrary<std::int16_t>();
    BlockFacts& block = facts.block;
    block.begin = address();
    block.size = any();
    block.family = *rc::gen::element(Family::malloc, Family::new_single, Family::new_array, Family::new_aligned, Family::new_array_aligned);
    block.freed = yes();
    block.guarded = yes();
    block.sequence = any();
    facts.memory = *rc::gen::container<std::vector<unsigned char>>(rc::gen::arbitrary<unsigned char>());
    const auto words = static_cast<std::size_t>(*rc::gen::inRange(0u, AllocatorFacts::max_words + 1));
    facts.free_map = *rc::gen::container<std::vector<std::uint64_t>>(words, rc::gen::arbitrary<std::uint64_t>());
    facts.remote_map = *rc::gen::container<std::vector<std::uint64_t>>(words, rc::gen::arbitrary<std::uint64_t>());
    for (int count = *rc::gen::inRange(0, 5); count != 0; --count) facts.leaks.push_back({*any_frames(), any(), any() | 1, yes(), any()});
    Error& error = facts.error;
    error.kind = static_cast<Kind>(*rc::gen::inRange(0, static_cast<int>(Kind::leak) + 1));
    error.address = address();
    error.found = any();
    error.expected = any();
    AllocatorFacts& allocator = error.allocator;
    allocator.allocator = reinterpret_cast<const void*>(any() | 1);
    allocator.base = address();
    allocator.block_size = any() | 1;
    allocator.blocks = *rc::gen::inRange(1u, 2049u);
    allocator.index = *rc::gen::inRange(0u, 2048u);
    allocator.words = static_cast<unsigned>(words);
    allocator.owner_word = any();
    return facts;
}

/// A file without a name in any folder, mapped as a program's first page. A frame in it has its name for a module.
class OddModule {
  public:
    explicit OddModule(const std::string& name) {
        const int self = ::open("/proc/self/exe", O_RDONLY), file = ::memfd_create(name.c_str(), MFD_CLOEXEC);
        std::vector<char> start(size);
        RC_ASSERT(self >= 0 && file >= 0);
        RC_ASSERT(::read(self, start.data(), size) == static_cast<ssize_t>(size));
        RC_ASSERT(::write(file, start.data(), size) == static_cast<ssize_t>(size));
        memory_ = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0);
        RC_ASSERT((memory_ != MAP_FAILED));
        ::close(self);
        ::close(file);
    }
    ~OddModule() { ::munmap(memory_, size); }
    OddModule(const OddModule&) = delete;
    OddModule& operator=(const OddModule&) = delete;

    std::uintptr_t pc() const { return reinterpret_cast<std::uintptr_t>(memory_) + 0x123; }

  private:
    static constexpr std::size_t size = 4096;
    void* memory_;
};

std::string hex(std::uint64_t value) {
    std::ostringstream text;
    text << "0x" << std::hex << value;
    return text.str();
}
std::string hex(const void* address) { return hex(reinterpret_cast<std::uintptr_t>(address)); }

/// The bytes that a JSON text stands for: each character is one of the first 256.
std::string bytes_of(const json& text) {
    std::string bytes;
    const auto utf8 = text.get<std::string>();
    for (std::size_t i = 0; i < utf8.size(); ++i) {
        const auto lead = static_cast<unsigned char>(utf8[i]);
        if (lead < 0x80) {
            bytes.push_back(utf8[i]);
            continue;
        }
        RC_ASSERT((lead == 0xC2 || lead == 0xC3));
        bytes.push_back(static_cast<char>((lead & 3) << 6 | (static_cast<unsigned char>(utf8.at(++i)) & 0x3F)));
    }
    return bytes;
}

/// As the kernel and the report write a module's name: a newline is "\012" on its way, and nothing in it moves a cursor.
std::string shown(std::string name) {
    for (std::size_t at = 0; (at = name.find("\\012", at)) != std::string::npos;) name.replace(at, 4, "?");
    for (char& c : name)
        if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = '?';
    return "/memfd:" + name + " (deleted)";
}
/// A thread's name ends where only control characters follow.
std::string trimmed(std::string name) {
    while (!name.empty() && static_cast<unsigned char>(name.back()) < ' ') name.pop_back();
    return name;
}

void expect(const json& told, const json& fact) {
    if (told != fact) RC_FAIL(told.dump() + " instead of " + fact.dump());
}

// ---- the schema, as far as it goes ----

const json& schema() {
    static const json whole = json::parse(std::ifstream(MPMM_REPORT_SCHEMA));
    return whole;
}

void expect_valid(const json& value, const json& rule);

void expect_valid_object(const json& object, const json& rule) {
    for (const auto& key : rule.value("required", json::array())) RC_ASSERT(object.contains(key.get<std::string>()));
    for (const auto& [key, member] : object.items()) {
        RC_ASSERT(rule.at("properties").contains(key));
        expect_valid(member, rule.at("properties").at(key));
    }
}

void expect_valid(const json& value, const json& rule) {
    if (rule.contains("$ref")) return expect_valid(value, schema().at(json::json_pointer(rule.at("$ref").get<std::string>().substr(1))));
    if (rule.contains("const")) expect(value, rule.at("const"));
    if (rule.contains("enum")) RC_ASSERT(std::ranges::count(rule.at("enum"), value) == 1);
    if (rule.contains("pattern")) RC_ASSERT(std::regex_match(value.get<std::string>(), std::regex(rule.at("pattern").get<std::string>())));
    if (rule.contains("minimum")) RC_ASSERT((value >= rule.at("minimum")));
    const std::string type = rule.value("type", "");
    if (type == "string") RC_ASSERT(value.is_string());
    if (type == "boolean") RC_ASSERT(value.is_boolean());
    if (type == "integer") RC_ASSERT(value.is_number_integer());
    if (type == "object") expect_valid_object(value, rule);
    if (type == "array")
        for (const json& item : value) expect_valid(item, rule.at("items"));
}

// ---- the same facts ----

void expect_stack(const json& stack, const Frames& frames) {
    RC_ASSERT(stack.size() == frames.size());
    for (std::size_t i = 0; i < frames.size(); ++i) expect(stack[i].at("pc"), hex(frames[i]));
}

void expect_event(const json& event, const Facts& facts, const Frames& frames) {
    RC_ASSERT(bytes_of(event.at("thread").at("name")) == trimmed(facts.thread));
    expect_stack(event.at("stack"), frames);
}

void expect_block(const json& block, const Facts& facts) {
    expect(block.at("begin"), hex(facts.block.begin));
    expect(block.at("size"), facts.block.size);
    expect(block.at("offset"), facts.offset);
    expect(block.at("family"), name(facts.block.family));
    expect(block.at("state"), facts.block.freed ? "freed" : "live");
    expect(block.at("guarded"), facts.block.guarded);
    expect(block.at("sequence"), facts.block.sequence);
    expect_event(block.at("allocated"), facts, facts.alloc_stack);
    expect(block.contains("freed"), facts.block.freed);
    if (facts.block.freed) expect_event(block.at("freed"), facts, facts.free_stack);
}

void expect_memory(const json& memory, const Dump& dump) {
    expect(memory.at("begin"), hex(dump.begin));
    expect(memory.at("bad_begin"), hex(dump.bad_begin));
    expect(memory.at("bad_end"), hex(dump.bad_end));
    const auto digits = memory.at("bytes").get<std::string>();
    RC_ASSERT(digits.size() == 2 * static_cast<std::size_t>(dump.end - dump.begin));
    for (std::size_t i = 0; i < digits.size() / 2; ++i)
        RC_ASSERT(std::stoul(digits.substr(2 * i, 2), nullptr, 16) == static_cast<unsigned long>(dump.begin[i]));
}

void expect_words(const json& words, const std::vector<std::uint64_t>& map) {
    RC_ASSERT(words.size() == map.size());
    for (std::size_t i = 0; i < map.size(); ++i) expect(words[i], hex(map[i]));
}

void expect_allocator(const json& allocator, const Facts& facts) {
    const AllocatorFacts& told = facts.error.allocator;
    expect(allocator.at("address"), hex(told.allocator));
    expect(allocator.at("base"), hex(told.base));
    expect(allocator.at("block_size"), told.block_size);
    expect(allocator.at("blocks"), told.blocks);
    expect(allocator.at("index"), told.index);
    RC_ASSERT(bytes_of(allocator.at("state")) == facts.state);
    expect(allocator.at("owner_word"), hex(told.owner_word));
    expect_words(allocator.at("free_map"), facts.free_map);
    expect_words(allocator.at("remote_map"), facts.remote_map);
}

void expect_leaks(const json& leaks, const std::vector<LeakFacts>& facts) {
    RC_ASSERT(leaks.size() == facts.size());
    for (std::size_t i = 0; i < facts.size(); ++i) {
        expect(leaks[i].at("direct"), facts[i].direct);
        expect(leaks[i].at("bytes"), facts[i].bytes);
        expect(leaks[i].at("blocks"), facts[i].blocks);
        expect(leaks[i].at("example"), hex(facts[i].example));
        expect_stack(leaks[i].at("stack"), facts[i].stack);
    }
}

void expect_told(const json& told, const Facts& facts) {
    expect(told.at("pid"), ::getpid());
    expect(told.at("kind"), name(facts.error.kind));
    expect(told.at("address"), hex(facts.error.address));
    expect(told.at("pc"), hex(facts.stack.front()));
    expect(told.at("thread").at("id"), facts.error.thread);
    RC_ASSERT(bytes_of(told.at("thread").at("name")) == trimmed(facts.thread));
    RC_ASSERT(bytes_of(told.at("description")) == facts.what);
    expect_stack(told.at("stack"), facts.stack);
    RC_ASSERT(bytes_of(told.at("stack").back().at("module")) == shown(facts.module));
    expect(told.contains("block"), facts.has_block);
    if (facts.has_block) expect_block(told.at("block"), facts);
    expect(told.contains("memory"), facts.has_dump);
    if (facts.has_dump) expect_memory(told.at("memory"), facts.error.dump);
    expect(told.contains("block_allocator"), facts.has_allocator);
    if (facts.has_allocator) expect_allocator(told.at("block_allocator"), facts);
    expect(told.contains("invariant"), facts.has_invariant);
    if (facts.has_invariant) {
        RC_ASSERT(bytes_of(told.at("invariant").at("name")) == facts.invariant);
        expect(told.at("invariant").at("found"), hex(facts.error.found));
        expect(told.at("invariant").at("expected"), hex(facts.error.expected));
    }
    expect(told.contains("leaks"), facts.has_leaks);
    if (facts.has_leaks) expect_leaks(told.at("leaks"), facts.leaks);
}

/// Puts the facts where the report looks for them.
std::string report_of(Facts& facts, std::vector<Leak>& leaks) {
    Error& error = facts.error;
    ::pthread_setname_np(::pthread_self(), facts.thread.c_str());
    error.thread = facts.block.alloc_thread = facts.block.free_thread = verify_threads::number();
    error.what.text(facts.what.c_str());
    std::ranges::copy(facts.stack, error.stack.frames);
    error.stack.count = facts.stack.size();
    facts.block.alloc_stack = stack_depot::put(facts.alloc_stack.data(), facts.alloc_stack.size());
    facts.block.free_stack = stack_depot::put(facts.free_stack.data(), facts.free_stack.size());
    error.has_block = facts.has_block;
    if (facts.has_block) {
        error.block = facts.block;
        error.address =
            reinterpret_cast<const void*>(reinterpret_cast<std::uintptr_t>(facts.block.begin) + static_cast<std::uintptr_t>(facts.offset));
    }
    if (facts.has_dump) {
        const auto* const begin = reinterpret_cast<const std::byte*>(facts.memory.data());
        error.dump = {begin, begin + facts.memory.size(), begin + facts.memory.size() / 3, begin + facts.memory.size() / 2};
    }
    if (!facts.has_allocator) error.allocator.allocator = nullptr;
    error.allocator.state = facts.state.c_str();
    std::ranges::copy(facts.free_map, error.allocator.free_map);
    std::ranges::copy(facts.remote_map, error.allocator.remote_map);
    if (facts.has_invariant) error.invariant = facts.invariant.c_str();
    for (const LeakFacts& leak : facts.leaks)
        leaks.push_back({stack_depot::put(leak.stack.data(), leak.stack.size()), leak.bytes, leak.blocks, leak.direct,
                         reinterpret_cast<const void*>(leak.example)});
    leaks.emplace_back();
    if (facts.has_leaks) error.leaks = leaks.data();
    error.leak_count = facts.leaks.size();
    std::vector<char> buffer(256 * 1024);
    Writer text(buffer.data(), buffer.size());
    write_json(text, error);
    return {text.begin(), text.size()};
}

TEST(ReportProperty, JsonTellsTheSameFacts) {
    char thread[16];
    ASSERT_EQ(::pthread_getname_np(::pthread_self(), thread, sizeof thread), 0);
    ASSERT_TRUE(options::set("symbolizer", 10, "0", 1));
    EXPECT_TRUE(rc::check("JSON tells the same facts", [] {
        Facts facts = any_facts();
        const OddModule module(facts.module);
        facts.stack.push_back(module.pc());
        // A dump of nothing is none.
        facts.memory.push_back(0);
        std::vector<Leak> leaks;
        const std::string text = report_of(facts, leaks);
        RC_ASSERT(std::ranges::count(text, '\n') == 1);
        RC_ASSERT(text.back() == '\n');
        RC_ASSERT(std::ranges::all_of(text, [](char c) { return c == '\n' || (c >= ' ' && c <= '~'); }));
        const json told = json::parse(text, nullptr, false);
        RC_ASSERT(!told.is_discarded());
        expect_valid(told, schema());
        expect_told(told, facts);
    }));
    ::pthread_setname_np(::pthread_self(), thread);
}

}  // namespace
}  // namespace mpmm::report
