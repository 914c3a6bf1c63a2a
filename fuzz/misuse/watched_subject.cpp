// SPDX-License-Identifier: Apache-2.0
#include "misuse/watched_subject.hpp"

#include "harness/target.hpp"
#include "harness/test_backend.hpp"
#include "harness/virtual_threads.hpp"
#include "verify/guarded.hpp"
#include "verify/symbolize.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace mpmm::symbolize {

/// Instead of symbolize::all(), see CMakeLists.txt: frames without names, since naming them takes five times as long as all the rest.
void unnamed(const std::uintptr_t* pcs, std::size_t count, const char*, void (*visit)(void*, std::size_t, const Frame&),
             void* context) __asm__("__wrap__ZN4mpmm9symbolize3allEPKmmPKcPFvPvmRKNS0_5FrameEES5_");
void unnamed(const std::uintptr_t* pcs, std::size_t count, const char*, void (*visit)(void*, std::size_t, const Frame&), void* context) {
    for (std::size_t i = 0; i < count; ++i) visit(context, i, Frame{pcs[i], "", "", 0, 0, "", 0, false});
}

}  // namespace mpmm::symbolize

namespace mpmm::fuzz {

namespace {

using report::name;

/// What blocks are aligned to at most when nothing is asked for.
constexpr std::size_t natural = 4096;

const std::byte* bytes(const void* address) { return static_cast<const std::byte*>(address); }

/// Addresses of guarded blocks are not used again soon, and whoever looks at all blocks looks at all of these: there must be an end.
constexpr std::size_t most_guarded_blocks = 20'000;
std::size_t guarded_blocks = 0;

/// The number behind these words, or -1.
long thread_after(const std::string& text, const char* words) {
    const std::size_t at = text.find(words);
    return at == std::string::npos ? -1 : std::strtol(text.c_str() + at + std::strlen(words), nullptr, 10);
}

/// A block of no bytes has its address for itself.
std::size_t length(const WatchedSubject::Block& block) { return std::max<std::size_t>(block.size, 1); }

/// The facts of a report, but for its kind and address, which say what it is about.
void check_facts(const WatchedSubject::Report& report, const std::byte* start, const WatchedSubject::Block& block, bool freed) {
    expect(report.block == start && report.size == block.size, "report of the block at ", report.block, " of ", report.size,
           " bytes, not of that at ", start, " of ", block.size, ":\n", report.text);
    expect(thread_after(report.text, "allocated by thread T") == block.allocated_by, "report with another thread than T",
           block.allocated_by, " that allocated:\n", report.text);
    expect(thread_after(report.text, "freed by thread T") == (freed ? block.freed_by : -1), "report with another thread than T",
           block.freed_by, " that freed, or it was not freed:\n", report.text);
    expect((report.text.find("previously allocated") != std::string::npos) == freed, "report that is wrong on whether it was freed:\n",
           report.text);
}

}  // namespace

void WatchedSubject::take(void* self, const mpmm_debugger_error* error) {
    static_cast<WatchedSubject*>(self)->reports_.push_back(
        {error->kind, error->report, bytes(error->address), bytes(error->block), error->block_size});
}

void WatchedSubject::begin(unsigned guarding, std::size_t redzone, bool stacks) {
    mpmm_debugger_callbacks callbacks{};
    callbacks.struct_size = sizeof callbacks;
    callbacks.context = this;
    callbacks.error = &take;
    mpmm_debugger_set_callbacks(&callbacks);
    refused_ = TestBackend::instance().refused_allocations();
    set_option("halt_on_error", 0);
    set_option("stack_depth", stacks ? 4 : 0);
    set_option("redzone_bytes", redzone);
    set_option("quarantine_bytes", std::size_t{64} << 20);
    set_option("check_interval", 0);
    set_option("guard_sample_rate", guarded_blocks < most_guarded_blocks ? guarding : 0);
}

void WatchedSubject::set_option(const char* key, std::size_t value) {
    expect(mpmm_set_option(key, std::to_string(value).c_str()) == 0, "option ", key, "=", value, " was refused");
    const std::string_view which = key;
    if (which == "redzone_bytes") redzone_ = value;
    if (which == "check_interval") whole_checks_ = value != 0;
    if (which != "quarantine_bytes") return;
    quarantine_ = value;
    nothing_waits();
}

// ---- blocks ----

auto WatchedSubject::owner(const Blocks& blocks, const std::byte* address) -> Blocks::const_iterator {
    auto after = blocks.upper_bound(address);
    if (after != blocks.end() && after->first - address <= static_cast<std::ptrdiff_t>(after->second.redzone)) return after;
    if (after == blocks.begin()) return blocks.end();
    --after;
    return address < after->first + after->second.size + after->second.redzone ? after : blocks.end();
}

auto WatchedSubject::waiting_owner(const std::byte* address) const -> Blocks::const_iterator {
    const auto found = owner(freed_, address);
    return found != freed_.end() && found->second.waits ? found : freed_.end();
}

bool WatchedSubject::remembered(Blocks::const_iterator block) {
    const mpmm_address_info info = find(block->first);
    const bool known = info.kind == MPMM_ADDRESS_FREE && info.block == block->first && info.usable_size == block->second.size;
    expect(known || !block->second.waits, "forgot the freed block at ", block->first, ", which waits in the quarantine");
    return known;
}

void* WatchedSubject::obtained(void* block, std::size_t size, std::size_t alignment, const char* what) {
    settle(what);
    if (block == nullptr) {
        // Before it says no, the allocator lets go what waits.
        nothing_waits();
        return nullptr;
    }
    const std::byte *const start = bytes(block), *const end = start + std::max<std::size_t>(size, 1);
    // What lay there is history.
    auto at = freed_.lower_bound(start);
    if (at != freed_.begin() && std::prev(at)->first + length(std::prev(at)->second) > start) --at;
    while (at != freed_.end() && at->first < end) {
        expect(!at->second.waits, what, " gave ", block, " over ", at->first, ", which waits in the quarantine");
        expect(!at->second.damage, what, " gave ", block, " over ", at->first, ", which was written to, and nobody said so");
        at = freed_.erase(at);
    }
    if (guarded::contains(block)) ++guarded_blocks;
    live_[start] = {.size = size,
                    .allocated_by = verify_threads::number(),
                    // Between two guarded blocks there is one page.
                    .redzone = guarded::contains(block) ? 16 : redzone_,
                    .cost = 2 * (size + 2 * redzone_ + alignment) + 8192};
    return block;
}

void WatchedSubject::changed(void* block, std::size_t size) {
    Block& same = live_.at(bytes(block));
    same.size = size;
    same.redzone = std::min(same.redzone, redzone_);
    same.cost += 2 * size;
}

void WatchedSubject::bury(const std::byte* block) {
    auto node = live_.extract(block);
    if (node.empty()) return;
    Block& buried = node.mapped();
    buried.freed_by = verify_threads::number();
    const bool fitted = freed_bytes_ <= quarantine_;
    freed_bytes_ += buried.cost;
    buried.waits = freed_bytes_ <= quarantine_ && !guarded::contains(block) && !ThreadSlot<BuildHeap::Cache>::exited;
    if (fitted && freed_bytes_ > quarantine_) nothing_waits();
    freed_.insert_or_assign(block, buried);
}

void WatchedSubject::nothing_waits() {
    for (auto& [address, block] : freed_) block.waits = false;
}

void WatchedSubject::drained(std::uint16_t thread) {
    for (const auto& [address, block] : freed_)
        expect(!block.damage || block.freed_by != thread, "nobody said that the freed block at ", address, " was written to when it left");
    nothing_waits();
}

// ---- reports ----

auto WatchedSubject::due_of_bad_address(const std::byte* address) -> Due {
    const auto inside = [&](Blocks::const_iterator block, bool freed) -> Due {
        return {.kind = report::Kind::invalid_free,
                .address = address,
                .has_block = true,
                .freed = freed,
                .start = block->first,
                .block = block->second};
    };
    if (const auto block = owner(address); block != live_.end()) return inside(block, false);
    // Where another block allocator's blocks are now, one that was never used may begin at the same address and be as long.
    const auto may_be_unused = [](const Block& block) { return !block.waits && BuildHeap::round_size(block.size) == block.size; };
    if (const auto block = freed_.find(address); block != freed_.end() && remembered(block) && !may_be_unused(block->second)) {
        Due due = inside(block, true);
        due.kind = report::Kind::double_free;
        return due;
    }
    if (const auto block = waiting_owner(address); block != freed_.end()) return inside(block, true);
    // A block may have been there, lately or long ago.
    return {.kind = report::Kind::invalid_free, .or_kind = report::Kind::double_free, .address = address};
}

bool WatchedSubject::takes_due(const Report& report) {
    for (auto due = due_.begin(); due != due_.end(); ++due) {
        const bool kind = report.kind == name(due->kind) || (due->or_kind && report.kind == name(*due->or_kind));
        if (!kind || report.address != due->address) continue;
        if (due->has_block) check_facts(report, due->start, due->block, due->freed);
        else expect(due->or_kind || report.block == nullptr, "report of a block where none is:\n", report.text);
        expect(report.text.find(due->word) != std::string::npos, "report without '", due->word, "':\n", report.text);
        due_.erase(due);
        return true;
    }
    return false;
}

bool WatchedSubject::takes_damage(Blocks& blocks, const Report& report, const std::byte* only) {
    const auto found = blocks.find(report.block);
    if (found == blocks.end() || (only != nullptr && found->first != only)) return false;
    auto& [start, block] = *found;
    if (!block.damage || report.kind != name(block.damage->kind) || report.address != block.damage->address) return false;
    check_facts(report, start, block, &blocks == &freed_);
    block.damage.reset();
    ++told_damages_;
    return true;
}

void WatchedSubject::settle(const char* what, const std::byte* telling, const std::byte* told) {
    if (const std::size_t refused = TestBackend::instance().refused_allocations(); refused != refused_) {
        // For a program that is short of memory the quarantine is emptied.
        refused_ = refused;
        nothing_waits();
    }
    const std::vector<Report> reports = std::exchange(reports_, {});
    for (const Report& report : reports) {
        if (trace != nullptr) *trace << "    " << report.kind << " at " << static_cast<const void*>(report.address) << std::endl;
        expect(thread_after(report.text, " thread T") == verify_threads::number(), "report with another thread than the caller's:\n",
               report.text);
        if (takes_due(report) || takes_damage(freed_, report, nullptr)) continue;
        if ((telling != nullptr || whole_checks_) && takes_damage(live_, report, whole_checks_ ? nullptr : telling)) continue;
        fail("false report in ", what, ":\n", report.text);
    }
    if (!due_.empty()) fail(what, " did not report ", name(due_.front().kind), " at ", due_.front().address);
    if (const auto block = live_.find(told); told != nullptr && block != live_.end())
        expect(!block->second.damage, what, " did not report ", name(block->second.damage->kind), " at ", block->second.damage->address);
}

// ---- the allocator's functions ----

void* WatchedSubject::malloc(std::size_t size) { return obtained(Subject::malloc(size), size, natural, "malloc"); }
void* WatchedSubject::zalloc(std::size_t size) { return obtained(Subject::zalloc(size), size, natural, "zalloc"); }
void* WatchedSubject::aligned(std::size_t alignment, std::size_t size) {
    return obtained(Subject::aligned(alignment, size), size, alignment, "aligned_alloc");
}
void* WatchedSubject::aligned_zeroed(std::size_t alignment, std::size_t size) {
    return obtained(Subject::aligned_zeroed(alignment, size), size, alignment, "aligned_zalloc");
}
void* WatchedSubject::tcache_malloc(std::size_t size) { return obtained(Subject::tcache_malloc(size), size, natural, "tcache_malloc"); }
void* WatchedSubject::lcache_malloc(std::size_t size) {
    return obtained(Subject::lcache_malloc(size), size, mpmm_backend_chunk_size(), "lcache_malloc");
}

std::size_t WatchedSubject::malloc_batch(std::size_t size, std::size_t count, void** blocks) {
    const std::size_t got = Subject::malloc_batch(size, count, blocks);
    if (got < count) nothing_waits();
    for (std::size_t i = 0; i < got && i < count; ++i) obtained(blocks[i], size, natural, "malloc_batch");
    return got;
}

/// The size to give to the allocator; when that is not the block's, it must say so.
std::size_t WatchedSubject::told_size(void* block, std::size_t size) {
    const auto found = live_.find(bytes(block));
    if (lie_ == 0 || found == live_.end()) return size;
    due({.kind = report::Kind::size_mismatch, .address = found->first, .has_block = true, .start = found->first, .block = found->second});
    return size + lie_;
}

template <class Function>
void WatchedSubject::give(void* block, std::size_t size, Function function) {
    const std::size_t told = told_size(block, size);
    function(block, told);
    settle("free", bytes(block));
    bury(bytes(block));
}

void WatchedSubject::free(void* block, std::size_t size) { give(block, size, &mpmm_free); }
void WatchedSubject::tcache_free(void* block, std::size_t size) { give(block, size, &mpmm_tcache_free); }
void WatchedSubject::lcache_free(void* block, std::size_t size) { give(block, size, &mpmm_lcache_free); }
void WatchedSubject::free_unsized(void* block) {
    Subject::free_unsized(block);
    settle("free_unsized", bytes(block));
    bury(bytes(block));
}

void WatchedSubject::free_batch(std::size_t size, std::size_t count, void* const* blocks) {
    // One by one, but for a call of one block, as the allocator does it itself.
    for (std::size_t i = 0; i < count; ++i) give(blocks[i], size, [](void* block, std::size_t told) { mpmm_free_batch(told, 1, &block); });
}

void* WatchedSubject::realloc(void* block, std::size_t old_size, std::size_t size) {
    // Nothing is looked at for a size that cannot be.
    const std::size_t told = size > PTRDIFF_MAX / 2 ? old_size : told_size(block, old_size);
    void* const moved = Subject::realloc(block, told, size);
    if (block == nullptr) return obtained(moved, size, natural, "realloc");
    settle("realloc", bytes(block), moved != nullptr ? bytes(block) : nullptr);
    if (moved == nullptr) return obtained(nullptr, size, natural, "realloc");
    if (moved != block) {
        bury(bytes(block));
        return obtained(moved, size, natural, "realloc");
    }
    changed(block, size);
    live_.at(bytes(block)).allocated_by = verify_threads::number();
    return moved;
}

int WatchedSubject::resize(void* block, std::size_t old_size, std::size_t size) {
    const bool looks = block != nullptr && size <= PTRDIFF_MAX / 2;
    const int done = Subject::resize(block, looks ? told_size(block, old_size) : old_size, size);
    settle("resize", looks ? bytes(block) : nullptr);
    if (done != 0 && block != nullptr) changed(block, size);
    return done;
}

std::size_t WatchedSubject::verify() {
    const bool before = std::exchange(whole_checks_, true);
    told_damages_ = 0;
    const std::size_t errors = Subject::verify();
    settle("verify_heap");
    whole_checks_ = before;
    for (const Blocks* blocks : {&live_, &freed_})
        for (const auto& [address, block] : *blocks)
            expect(!block.damage, "verify_heap did not report ", block.damage ? name(block.damage->kind) : "", " of the block at ",
                   address);
    expect(errors >= told_damages_, "verify_heap says ", errors, " errors and reported ", told_damages_);
    return errors - told_damages_;
}

}  // namespace mpmm::fuzz
