// SPDX-License-Identifier: Apache-2.0
// The leak check: which blocks can the program no longer reach? All other threads stand still while their registers, stacks and the global
// variables are followed into the heap. Nothing here takes a lock or allocates from the heap while they do.
#pragma once

#include "platform/modules.hpp"
#include "platform/roots.hpp"
#include "platform/signal_safe.hpp"
#include "verify/leak_groups.hpp"
#include "verify/reachability.hpp"

namespace mpmm {

template <class H>
struct CheckedFront<H>::LeakFinder {
    using Entries = TenantEntries<G>;
    struct Block {
        std::uintptr_t begin, end;
        AllocRecord* record;
    };

    /// Runs by address: the chunk map shows them at their ends only.
    struct Large {
        std::uintptr_t begin, end;
        typename H::LargeRun* run;
    };
    Large* large;
    std::size_t large_count = 0, most_large;

    /// Dead frames on the calling thread's stack; none when the end is 0.
    std::uintptr_t own_begin, own_end;

    LeakFinder(Large* storage, std::size_t count, std::uintptr_t stack)
        : large(storage), most_large(count), own_begin(reinterpret_cast<std::uintptr_t>(frame_address()) - 16384), own_end(stack) {}

    /// The stopped threads' runs. The chunk map is walked in the order of addresses.
    void collect_large() {
        H::shared.map.for_each([&](std::byte* chunk, auto entry) {
            if (!Entries::is_whole(entry) || large_count == most_large) return;
            Tenant* const tenant = Entries::template tenant<tenant_alignment>(entry, chunk);
            const OwnerState state = tenant->owner().state();
            if (state != OwnerState::large_used && state != OwnerState::large_free) return;
            auto* const run = static_cast<typename H::LargeRun*>(tenant);
            const auto begin = reinterpret_cast<std::uintptr_t>(run->extent.base);
            if (large_count != 0 && large[large_count - 1].begin == begin) return;
            large[large_count++] = {begin, begin + run->extent.chunks * G::chunk, run};
        });
    }
    const Large* large_at(std::uintptr_t address) const {
        const Large* const after =
            std::upper_bound(large, large + large_count, address, [](std::uintptr_t a, const Large& l) { return a < l.begin; });
        return after != large && address < after[-1].end ? after - 1 : nullptr;
    }

    bool find(std::uintptr_t word, Block& out) const {
        Place place;
        auto* const address = reinterpret_cast<const void*>(word);
        if (guarded::contains(address)) {
            if (!guarded::find(address, place)) return false;
        } else if (const Large* const found = large_at(word); found != nullptr) {
            if (found->run->owner().state() != OwnerState::large_used) return false;
            std::byte* const low = found->run->extent.base;
            place = {&found->run->record, low + found->run->record.front(), low, low + found->run->size, false};
        } else {
            // Most words are no addresses of ours, and the chunk map says so at once.
            if (!H::shared.first_tenant(address)->owner(relaxed).is_block_allocator() || !CheckedFront::find(address, place)) return false;
        }
        return describes(place, out) && word >= out.begin && word < out.end;
    }
    static bool describes(const Place& place, Block& out) {
        if (place.record->seen() != BlockState::live) return false;
        // A block of no bytes is found at its address.
        out.begin = reinterpret_cast<std::uintptr_t>(place.user);
        out.end = out.begin + std::max<std::size_t>(place.record->size, 1);
        out.record = place.record;
        return true;
    }
    Reach reach(const Block& block) const { return static_cast<Reach>(block.record->reach); }
    void set_reach(const Block& block, Reach reach) const { block.record->reach = static_cast<std::uint8_t>(reach); }

    template <class Visit>
    void each_block(Visit&& visit) const {
        Block out;
        H::shared.map.for_each([&](std::byte* chunk, auto entry) {
            if (Entries::is_whole(entry)) return;
            const std::size_t slot = std::size_t{1} << (reinterpret_cast<std::uintptr_t>(entry) & Entries::shift_mask);
            for (std::size_t offset = 0; offset < G::chunk; offset += slot) {
                Tenant* const tenant = H::shared.first_tenant(chunk + offset);
                if (!tenant->owner().is_block_allocator()) continue;
                auto& allocator = *static_cast<typename H::Block*>(tenant);
                AllocRecord* const records = allocator.record.allocations;
                for (unsigned i = 0; records != nullptr && i < allocator.blocks; ++i) {
                    std::byte* const low = allocator.address(i);
                    if (describes({&records[i], low + records[i].front(), low, low + allocator.size, false}, out)) visit(out);
                }
            }
        });
        for (std::size_t i = 0; i < large_count; ++i) {
            typename H::LargeRun& run = *large[i].run;
            if (run.owner().state() != OwnerState::large_used) continue;
            std::byte* const low = run.extent.base;
            if (describes({&run.record, low + run.record.front(), low, low + run.size, false}, out)) visit(out);
        }
        struct Call {
            Visit& visit;
            Block& out;
        } call{visit, out};
        guarded::for_each_stopped(
            [](void* context, const Place& place) {
                auto& [callback, block] = *static_cast<Call*>(context);
                if (describes(place, block)) callback(block);
            },
            &call);
    }
    /// Our own memory is no root: what points at a block from there does so whether the program uses the block or not.
    static bool excluded(void* context, std::uintptr_t address, std::uintptr_t& end) {
        const auto& finder = *static_cast<const LeakFinder*>(context);
        bool ours = false;
        const auto range = [&](std::uintptr_t from, std::uintptr_t to) {
            if (address >= from && address < to) {
                ours = true;
                end = std::min(end, to);
            } else if (address < from) {
                end = std::min(end, from);
            }
        };
        range(finder.own_begin, finder.own_end);
        H::shared.memory.for_each_range(range);
        guarded::for_each_range(range);
        if (ours) return true;
        const std::uintptr_t chunk_end = align_down(address, G::chunk) + G::chunk;
        if (const Large* const run = finder.large_at(address); run != nullptr) {
            end = std::min(end, run->end);
            return true;
        }
        end = std::min(end, chunk_end);
        const auto entry = H::shared.map.find(reinterpret_cast<const void*>(address));
        return entry != Entries::none() &&
               H::shared.first_tenant(reinterpret_cast<const void*>(address))->owner().state() != OwnerState::foreign;
    }
};

template <class H>
struct CheckedFront<H>::LeakCheck {
    LeakFinder finder;
    leak_groups::Table groups;
    bool complete = false;
    stop_world::Result result = stop_world::Result::failed;

    static void run(void* context, const stop_world::World& world) {
        auto& check = *static_cast<LeakCheck*>(context);
        check.result = world.result;
        LeakFinder& finder = check.finder;
        finder.collect_large();
        finder.each_block([](const typename LeakFinder::Block& block) { block.record->reach = static_cast<std::uint8_t>(Reach::unseen); });
        Reachability<LeakFinder> reachability(finder, {world.result != stop_world::Result::stopped, H::shared.backend.is_system()});
        if (!reachability.ready()) return;
        struct Roots {
            Reachability<LeakFinder>& reachability;
            LeakFinder& finder;
        } roots{reachability, finder};
        const bool known = roots::visit(
            world,
            [](void* of, std::uintptr_t address, std::uintptr_t& end) {
                return LeakFinder::excluded(&static_cast<Roots*>(of)->finder, address, end);
            },
            [](void* of, const std::uintptr_t* begin, const std::uintptr_t* end) {
                Reachability<LeakFinder>::add_roots(&static_cast<Roots*>(of)->reachability, begin, end);
            },
            &roots);
        if (!known) return;
        reachability.classify();
        finder.each_block([&](const typename LeakFinder::Block& block) {
            const Reach reach = finder.reach(block);
            if (reach == Reach::direct || reach == Reach::indirect)
                check.groups.add(block.record->alloc_stack, reach == Reach::direct, block.record->size,
                                 reinterpret_cast<const void*>(block.begin));
        });
        check.complete = true;
    }
};

/// What checks left below on this thread's stack would lie in frames that are in use while roots are looked for.
template <class H>
void CheckedFront<H>::forget_stack() {
    volatile std::byte below[8192];
    for (volatile std::byte& byte : below) byte = std::byte{0};
}

template <class H>
std::uintptr_t CheckedFront<H>::stack_at_exit(const Site& site) {
    constexpr std::size_t most = 16;
    std::uintptr_t frames[most], stacks[most];
    const std::size_t count = unwind::capture(site, frames, stacks, most);
    modules::Module first, last, module;
    // Who calls us is the dynamic linker, and who calls that is the C library. In a static program it is all one.
    if (count < 4 || count == most || !modules::find(frames[0], first) || !modules::find(frames[count - 1], last)) return 0;
    std::uintptr_t library = 0;
    for (std::size_t i = 1; i + 1 < count; ++i) {
        if (!modules::find(frames[i], module)) return 0;
        if (module.base == first.base) continue;
        if (library == 0) library = module.base;
        if (module.base != library || library == last.base) return 0;
    }
    return stacks[count - 1];
}

template <class H>
std::size_t CheckedFront<H>::check_leaks(std::uintptr_t dead_stack) {
    const Inside inside;
    const NoCancellation whole;
    using Large = typename LeakFinder::Large;
    constexpr std::size_t most_large = 1 << 20;
    auto* const storage = static_cast<Large*>(os::reserve(most_large * sizeof(Large), true));
    void* const group_storage = os::reserve(leak_groups::Table::bytes, true);
    if (storage == nullptr || group_storage == nullptr) {
        report::note("leak check: no memory for it", 0);
        return 0;
    }
    LeakCheck check{LeakFinder(storage, most_large, dead_stack), leak_groups::Table(group_storage)};
    forget_stack();
    {
        // Nobody is stopped in the middle of moving a large block.
        const Guard guard(large_lock_);
        stop_world::run(&LeakCheck::run, &check);
    }
    std::size_t leaked = 0;
    if (!check.complete) report::note("leak check: the process's memory cannot be looked at here, nothing was checked", 0);
    if (check.complete && check.result == stop_world::Result::not_stopped)
        report::note("leak check: other threads could not be stopped (a debugger, or a sandbox); leaks may be reported wrongly", 0);
    if (check.complete) leaked = check.groups.report();
    os::unmap(storage, most_large * sizeof(Large));
    os::unmap(group_storage, leak_groups::Table::bytes);
    return leaked;
}

}  // namespace mpmm
