// SPDX-License-Identifier: Apache-2.0
#include "misuse/misuse_executor.hpp"

#include "harness/sizes.hpp"
#include "verify/guarded.hpp"

#include <cerrno>
#include <set>

namespace mpmm::fuzz {

namespace {

using Blocks = WatchedSubject::Blocks;

/// What stray writes write: no byte of a pattern.
constexpr int stray = 0x2F;
constexpr std::size_t page = 4096;

/// Pages among guarded blocks that faulted once and are accessible since then.
std::set<std::uintptr_t> opened;

std::uintptr_t page_of(const std::byte* address) { return reinterpret_cast<std::uintptr_t>(address) / page; }

Blocks::const_iterator nth(const Blocks& blocks, std::size_t number) {
    return blocks.empty() ? blocks.end() : std::next(blocks.begin(), static_cast<std::ptrdiff_t>(number % blocks.size()));
}

/// Where the pages of a guarded block begin and end.
const std::byte* low_page(const std::byte* block, std::size_t size) {
    return block - (size == 0 ? page : reinterpret_cast<std::uintptr_t>(block) % page);
}
const std::byte* high_page(const std::byte* block, std::size_t size) {
    const std::uintptr_t over = (reinterpret_cast<std::uintptr_t>(block) + size) % page;
    return block + size + (over == 0 ? 0 : page - over);
}

MPMM_FUZZ_PLAIN void store(const std::byte* first, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) *const_cast<volatile std::byte*>(first + i) = static_cast<std::byte>(stray);
}
MPMM_FUZZ_PLAIN void load(const std::byte* address) { (void)*static_cast<const volatile std::byte*>(address); }

std::byte* mutable_address(const std::byte* address) { return const_cast<std::byte*>(address); }
std::byte* address_of_number(std::uintptr_t number) { return reinterpret_cast<std::byte*>(number); }

std::byte some_global{1};

}  // namespace

void MisuseExecutor::prepare(std::uint8_t flavour) {
    Executor::prepare(flavour);
    static constexpr unsigned guard_rates[] = {0, 0, 5, 1};
    static constexpr std::size_t redzones[] = {16, 17, 2048, 16};
    subject_.begin(guard_rates[flavour / 16 % 4], redzones[flavour / 64], flavour / 64 == 3);
}

void MisuseExecutor::perform(const Operation& operation) {
    switch (operation.kind) {
#define X(name, ...) \
    case Kind::name: do_##name(operation); break;
        MPMM_FUZZ_MISUSES(X)
#undef X
        default: Executor::perform(operation); break;
    }
    subject_.settle("the operation");
    if (operation.kind == Kind::trim) subject_.drained(verify_threads::number());
}

// ---- addresses that are no blocks ----

void MisuseExecutor::give_bad_address(std::byte* address, const WatchedSubject::Due& due, const Operation& operation) {
    expect(!subject_.live().contains(address), "the harness gives a good address");
    subject_.due(due);
    const std::size_t size = request_size(operation.size) % 10000;
    switch (operation.variant % 7) {
        case 0: call([&] { mpmm_free(address, size); }); break;
        case 1: call([&] { mpmm_free_unsized(address); }); break;
        case 2: call([&] { mpmm_tcache_free(address, size); }); break;
        case 3: call([&] { mpmm_lcache_free(address, size); }); break;
        case 4: call([&] { mpmm_free_batch(size, 1, reinterpret_cast<void**>(&address)); }); break;
        case 5:
            errno = no_errno;
            expect(mpmm_realloc(address, size, size / 2) == nullptr, "realloc took an address that is no block");
            expect(errno == EINVAL, "realloc of an address that is no block set errno to ", errno);
            break;
        default: expect(mpmm_resize(address, size, size / 2) == 0, "resize took an address that is no block"); break;
    }
    subject_.settle("a call with an address that is no block");
    if (operation.variant % 7 < 5) expect_errno_kept("free of a bad address");
}

void MisuseExecutor::do_free_again(const Operation& operation) {
    const auto block = nth(subject_.freed(), operation.slot);
    if (block == subject_.freed().end() || subject_.live().contains(block->first)) return;
    give_bad_address(mutable_address(block->first), subject_.due_of_bad_address(block->first), operation);
}

void MisuseExecutor::do_free_inside(const Operation& operation) {
    const bool freed = operation.variant >= 32;
    const Blocks& blocks = freed ? subject_.freed() : subject_.live();
    const auto found = nth(blocks, operation.slot);
    if (found == blocks.end() || (freed && !found->second.waits)) return;
    const auto& [start, block] = *found;
    const std::size_t number = operation.size / 4;
    const std::byte* address = start - 1 - number % block.redzone;
    if (operation.size % 4 != 0) {
        const std::size_t last = operation.size % 4 == 1 ? block.size + block.redzone - 1 : std::max<std::size_t>(block.size, 2) - 1;
        address = start + 1 + number % last;
    }
    give_bad_address(mutable_address(address), subject_.due_of_bad_address(address), operation);
}

auto MisuseExecutor::foreign_address(const Operation& operation) -> Foreign {
    static thread_local std::byte of_thread;
    static constexpr const char* unmapped = "not mapped";
    switch (operation.size % 9) {
        case 0: return {&some_global, "a global variable"};
        case 1: return {&of_thread};
        case 2: return {reinterpret_cast<std::byte*>(this)};
        case 3: return {reinterpret_cast<std::byte*>(&mpmm_malloc), ", code"};
        case 4: return {address_of_number(1 + operation.slot % page), unmapped};
        // Beyond what a process has: AddressSanitizer keeps much of the rest for itself.
        case 5: return {address_of_number((std::uintptr_t{operation.slot} | 1) << 48 | 0x30'0000'0000), unmapped};
        case 6: return {address_of_number(~std::uintptr_t{0} - operation.slot), unmapped};
        case 7:
            borrowed_ = mpmm_backend_allocate(page, 0);
            return {borrowed_ == nullptr ? &some_global : static_cast<std::byte*>(borrowed_) + operation.slot % page};
        default:
            if (persistent_.empty()) return {&some_global};
            return {persistent_[operation.slot % persistent_.size()].address};
    }
}

void MisuseExecutor::give_back_borrowed() {
    if (borrowed_ != nullptr) mpmm_backend_deallocate(std::exchange(borrowed_, nullptr), page);
}

void MisuseExecutor::do_free_foreign(const Operation& operation) {
    std::byte on_stack{};
    const Foreign foreign = operation.size / 16 % 8 == 0 ? Foreign{&on_stack} : foreign_address(operation);
    WatchedSubject::Due due{.kind = report::Kind::invalid_free, .address = foreign.address, .word = foreign.where};
    // Where the backend's memory is, a block may have been.
    if (borrowed_ != nullptr) due = subject_.due_of_bad_address(foreign.address);
    give_bad_address(foreign.address, due, operation);
    give_back_borrowed();
}

void MisuseExecutor::do_free_twice(const Operation& operation) {
    if (model_.empty()) return;
    const Model::Block block = model_.remove(model_.slot(operation.slot));
    // The first free is judged as always; the second comes before anybody else did anything.
    call([&] { subject_.free_batch(block.size, 1, reinterpret_cast<void* const*>(&block.address)); });
    expect_errno_kept("free_batch");
    give_bad_address(block.address, subject_.due_of_bad_address(block.address), operation);
}

void MisuseExecutor::do_ask_garbage(const Operation& operation) {
    const auto ask = [&](const std::byte* address) {
        const std::size_t usable = call([&] { return subject_.usable_size(address); });
        expect(usable == 0, "the address ", address, ", which is no block, has a usable size of ", usable);
        expect_errno_kept("usable_size");
    };
    ask(foreign_address(operation).address);
    give_back_borrowed();
    if (const auto block = nth(subject_.freed(), operation.slot);
        block != subject_.freed().end() && !subject_.live().contains(block->first))
        ask(block->first);
    if (const auto block = nth(subject_.live(), operation.slot); block != subject_.live().end())
        for (const std::size_t offset : {std::size_t{1}, block->second.size + block->second.redzone - 1}) ask(block->first + offset);
}

// ---- sizes ----

void MisuseExecutor::do_wrong_size(const Operation& operation) {
    static constexpr std::size_t lies[] = {1, ~std::size_t{0}, 16, 4096, std::size_t{1} << 62};
    subject_.lie(lies[operation.slot / 64 % std::size(lies)]);
    switch (operation.variant % 4) {
        case 0: do_free(operation); break;
        case 1: do_free_batch(operation); break;
        case 2: do_realloc(operation); break;
        default: do_resize(operation); break;
    }
    subject_.lie(0);
}

// ---- stray writes ----

void MisuseExecutor::write(const std::byte* block, const std::byte* first, std::size_t count, const WatchedSubject::Damage& damage,
                           const Operation& operation) {
    store(first, count);
    subject_.damage(block, damage);
    if (operation.variant % 4 == 1) do_verify(operation);
}

void MisuseExecutor::touch(Blocks::const_iterator block, bool freed, report::Kind kind, const std::byte* address, bool writes) {
    subject_.due({.kind = kind,
                  .address = address,
                  .has_block = true,
                  .freed = freed,
                  .start = block->first,
                  .block = block->second,
                  .word = writes ? "WRITE at" : "READ at"});
    writes ? store(address, 1) : load(address);
    subject_.settle("a touch of what is guarded");
}

void MisuseExecutor::do_write_behind(const Operation& operation) {
    const auto found = nth(subject_.live(), operation.slot);
    if (found == subject_.live().end() || found->second.damage) return;
    const auto& [start, block] = *found;
    std::size_t room = block.redzone;
    if (guarded::contains(start)) room = std::min(room, static_cast<std::size_t>(high_page(start, block.size) - start) - block.size);
    if (room == 0) return;
    const std::byte* const first = start + block.size + operation.size % room;
    const std::size_t count = 1 + operation.size / 256u % static_cast<std::size_t>(start + block.size + room - first);
    write(start, first, count, {report::Kind::heap_buffer_overflow, first}, operation);
}

void MisuseExecutor::do_write_before(const Operation& operation) {
    const auto found = nth(subject_.live(), operation.slot);
    if (found == subject_.live().end() || found->second.damage) return;
    const auto& [start, block] = *found;
    std::size_t room = block.redzone;
    if (guarded::contains(start)) room = std::min(room, static_cast<std::size_t>(start - low_page(start, block.size)));
    if (room == 0) return;
    const std::byte* const last = start - 1 - operation.size % room;
    const std::size_t count = 1 + operation.size / 256u % static_cast<std::size_t>(last + 1 - (start - room));
    write(start, last + 1 - count, count, {report::Kind::heap_buffer_underflow, last}, operation);
}

void MisuseExecutor::do_write_freed(const Operation& operation) {
    const auto found = nth(subject_.freed(), operation.slot);
    if (found == subject_.freed().end() || !found->second.waits || found->second.damage) return;
    const auto& [start, block] = *found;
    // Of long blocks the beginning is filled.
    const std::size_t filled = std::min<std::size_t>(block.size, 64 * 1024), where = operation.size;
    if (operation.variant / 4 % 4 == 1) {
        const std::byte* const first = start + block.size + where % block.redzone;
        write(start, first, 1, {report::Kind::heap_buffer_overflow, first}, operation);
    } else if (operation.variant / 4 % 4 == 2) {
        const std::byte* const first = start - 1 - where % block.redzone;
        write(start, first, 1, {report::Kind::heap_buffer_underflow, first}, operation);
    } else if (flavour_.system && block.size >= 64 * 1024) {
        // Its whole pages are inaccessible.
        const std::size_t edge = page - reinterpret_cast<std::uintptr_t>(start) % page, at = where * std::size_t{64} % block.size;
        const std::byte* const first = start + (operation.variant / 16 % 4 == 0 ? block.size - 1 - at % 16 : at);
        const bool inside = first >= start + edge % page && page_of(first) < page_of(start + block.size);
        if (!inside) return write(start, first, 1, {report::Kind::heap_use_after_free, first}, operation);
        if (block.touched) return;
        touch(found, true, report::Kind::heap_use_after_free, first, operation.variant / 16 % 2 != 0);
        subject_.touched(start);
    } else if (filled != 0) {
        const std::byte* const first = start + where % filled;
        write(start, first, 1 + where / 256u % static_cast<std::size_t>(start + filled - first), {report::Kind::heap_use_after_free, first},
              operation);
    }
}

void MisuseExecutor::do_touch_guarded(const Operation& operation) {
    const bool freed = operation.variant % 2 != 0, writes = operation.variant / 2 % 2 != 0;
    const Blocks& blocks = freed ? subject_.freed() : subject_.live();
    const auto found = nth(blocks, operation.slot);
    if (found == blocks.end() || !guarded::contains(found->first)) return;
    const auto& [start, block] = *found;
    const bool behind = operation.variant / 4 % 2 != 0;
    if (freed && block.size == 0) return;
    // A block at the far end of its page is not the nearest to the guard page before it.
    if (!freed && !behind && static_cast<std::size_t>(start - low_page(start, block.size)) > page / 2) return;
    const std::byte* const address = freed    ? start + operation.size % block.size
                                     : behind ? high_page(start, block.size) + operation.size % 16
                                              : low_page(start, block.size) - 1 - operation.size % 16;
    if (!opened.insert(page_of(address)).second) return;
    touch(found, freed,
          freed    ? report::Kind::heap_use_after_free
          : behind ? report::Kind::heap_buffer_overflow
                   : report::Kind::heap_buffer_underflow,
          address, writes);
}

void MisuseExecutor::do_verify_option(const Operation& operation) {
    static constexpr struct {
        const char* key;
        std::size_t value;
    } settings[] = {{"check_interval", 0},      {"check_interval", 50},       {"check_interval", 400},        {"quarantine_bytes", 0},
                    {"quarantine_bytes", 4096}, {"quarantine_bytes", 100000}, {"quarantine_bytes", 64u << 20}};
    const auto& [key, value] = settings[operation.size % std::size(settings)];
    subject_.set_option(key, value);
}

}  // namespace mpmm::fuzz
