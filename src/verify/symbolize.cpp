// SPDX-License-Identifier: Apache-2.0
// See symbolize.hpp.
#include "verify/symbolize.hpp"

#include "platform/atomics.hpp"
#include "platform/child_process.hpp"
#include "platform/elf.hpp"
#include "platform/modules.hpp"
#include "platform/os.hpp"
#include "platform/signal_safe.hpp"
#include "verify/symbol_store.hpp"
#include "verify/symbolizer_tool.hpp"

#include <fcntl.h>
#include <new>
#include <unistd.h>

namespace mpmm::symbolize {
namespace {

using Visit = void (*)(void*, std::size_t, const Frame&);

/// The process that is symbolising, or 0. A copy of it made by fork has nobody at work.
constinit Atomic<long> busy{0};
constinit Atomic<unsigned> time_limit_ms{20'000};
/// A tool took too long. The next report shall not wait for it again.
constinit Atomic<bool> given_up{false};

/// All memory of one call.
struct Workspace {
    Store store;
    Tool tool;
    modules::Mappings mappings;
    char path[Store::longest_path];
    std::uint32_t address_of[Store::max_addresses];  ///< by the position of the pc
    elf::Wanted wanted[Store::max_addresses];
    Address* asking[Store::max_addresses];
    char names[Store::max_addresses][256];
};

void visit_bare(const std::uintptr_t* pcs, std::size_t first, std::size_t count, Visit visit, void* context) {
    for (std::size_t i = first; i < first + count; ++i) visit(context, i, Frame{pcs[i], "", "", 0, 0, "", 0, false});
}

/// The stacks of one report have their outer frames in common.
void collect(Workspace& work, const std::uintptr_t* pcs, std::size_t count) {
    Store& store = work.store;
    store.clear();
    for (std::size_t i = 0; i < count; ++i) {
        const std::uintptr_t lookup = pcs[i] - 1;
        std::size_t at = 0;
        while (at < store.address_count && store.addresses[at].lookup != lookup) ++at;
        if (at == store.address_count) store.addresses[store.address_count++] = {lookup, 0, 0, 0};
        work.address_of[i] = static_cast<std::uint32_t>(at);
    }
}

void locate(Workspace& work) {
    Store& store = work.store;
    if (!work.mappings.open()) return;
    for (modules::Mapping mapping; work.mappings.next(mapping);) {
        if (mapping.path[0] == '\0') continue;
        bool known = false;
        for (Address* address = store.addresses; address != store.addresses + store.address_count; ++address) {
            if (address->lookup < mapping.start || address->lookup >= mapping.end) continue;
            if (!known) {
                Module module{0, mapping.start, mapping.end, 0, 0};
                if (store.module_count == Store::max_modules || !modules::load_base(mapping, module.base)) break;
                module.path = store.keep_readable(mapping.path, std::strlen(mapping.path));
                if (modules::file_path(mapping, work.path, sizeof work.path)) module.query = store.keep(work.path, std::strlen(work.path));
                store.modules[store.module_count++] = module;
                known = true;
            }
            address->module = static_cast<std::uint32_t>(store.module_count);
        }
    }
    work.mappings.close();
}

/// The names that the tool, if there was one, did not know.
void name_the_rest(Workspace& work) {
    Store& store = work.store;
    for (std::uint32_t number = 1; number <= store.module_count; ++number) {
        const Module& module = store.modules[number - 1];
        std::size_t count = 0;
        for (Address* address = store.addresses; address != store.addresses + store.address_count; ++address) {
            if (address->module != number || (address->last != 0 && store.records[address->last - 1].function != 0)) continue;
            work.names[count][0] = '\0';
            work.wanted[count] = {store.in_file(*address), work.names[count], sizeof work.names[count], 0};
            work.asking[count++] = address;
        }
        if (count == 0) continue;
        if (module.query != 0) {
            const int file = ::open(store.string(module.query), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
            if (file < 0) continue;
            elf::name_functions({file, 0}, work.wanted, count);
            ::close(file);
        } else if (std::strcmp(store.string(module.path), "[vdso]") == 0) {
            elf::name_functions({-1, module.start}, work.wanted, count);
        }
        for (std::size_t i = 0; i < count; ++i) {
            const Text name = store.keep_readable(work.names[i], std::strlen(work.names[i]));
            if (name == 0) continue;
            if (Address& address = *work.asking[i]; address.last != 0) store.records[address.last - 1].function = name;
            else store.append(address, name, 0, 0, 0);
        }
    }
}

void tell(const Workspace& work, const std::uintptr_t* pcs, std::size_t first, std::size_t count, Visit visit, void* context) {
    const Store& store = work.store;
    for (std::size_t i = 0; i < count; ++i) {
        const Address& address = store.addresses[work.address_of[i]];
        Frame frame{pcs[first + i], "", "", 0, 0, "", 0, false};
        if (address.module != 0) {
            const Module& module = store.modules[address.module - 1];
            frame.module = store.string(module.path);
            frame.offset = frame.pc - module.base;
        }
        if (address.first == 0) visit(context, first + i, frame);
        for (std::uint32_t number = address.first; number != 0;) {
            const Record& record = store.records[number - 1];
            frame.function = store.string(record.function);
            frame.file = store.string(record.file);
            frame.line = record.line;
            frame.column = record.column;
            frame.inlined = record.next != 0;
            visit(context, first + i, frame);
            number = record.next;
        }
    }
}

}  // namespace

void set_time_limit(unsigned milliseconds) {
    time_limit_ms.store(milliseconds, relaxed);
    given_up.store(false, relaxed);
}

void all(const std::uintptr_t* pcs, std::size_t count, const char* symbolizer, Visit visit, void* context) {
    const KeepErrno keep_errno;
    const NoCancellation no_cancellation;
    const long process = os::process_id();
    const std::size_t page = os::page_size(), size = (sizeof(Workspace) + page - 1) / page * page;
    // The flag is for this thread's own signals, for which any order will do; other threads stay out by the caller's lock. acquire and release
    // are those of a lock all the same.
    if (long nobody = busy.load(relaxed); nobody == process || !busy.compare_exchange_strong(nobody, process, acquire, relaxed))
        return visit_bare(pcs, 0, count, visit, context);
    if (auto* const work = static_cast<Workspace*>(os::map(size, nullptr)); work == nullptr) {
        visit_bare(pcs, 0, count, visit, context);
    } else {
        ::new (static_cast<void*>(&work->mappings)) modules::Mappings();
        bool have_tool = !given_up.load(relaxed) && find_tool(symbolizer, work->tool);
        for (std::size_t first = 0; first < count; first += Store::max_addresses) {
            const std::size_t now = count - first < Store::max_addresses ? count - first : Store::max_addresses;
            collect(*work, pcs + first, now);
            locate(*work);
            if (have_tool) {
                const child_process::Outcome outcome = ask(work->tool, work->store, time_limit_ms.load(relaxed));
                have_tool = outcome == child_process::Outcome::ended;
                if (outcome == child_process::Outcome::timed_out) given_up.store(true, relaxed);
            }
            name_the_rest(*work);
            tell(*work, pcs, first, now, visit, context);
        }
        os::unmap(work, size);
    }
    busy.store(0, release);
}

}  // namespace mpmm::symbolize
