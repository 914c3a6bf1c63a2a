// SPDX-License-Identifier: Apache-2.0
// A heap for tests of the leak check: equal blocks in one mapping, and the finder over them. Tests know blocks by their numbers, so that no
// pointer is where the test does not want one.
#pragma once

#include "platform/stop_world.hpp"
#include "platform/roots.hpp"
#include "verify/reachability.hpp"

#include <cstdint>
#include <memory>
#include <sys/mman.h>

namespace mpmm::test {

class ArenaFinder {
  public:
    struct Block {
        std::uintptr_t begin, end;
        std::uint32_t index;
    };

    /// `inside_of` more bytes of the program lie in the same mapping, before and behind the arena.
    explicit ArenaFinder(std::uint32_t count, std::size_t block_size = 64, std::size_t around = 0)
        : count_(count), block_size_(block_size), around_(around), reach_(new Reach[count]()) {
        mapping_ = static_cast<char*>(mmap(nullptr, size() + 2 * around, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    }
    ~ArenaFinder() { munmap(mapping_, size() + 2 * around_); }
    ArenaFinder(const ArenaFinder&) = delete;
    ArenaFinder& operator=(const ArenaFinder&) = delete;

    // The finder.
    bool find(std::uintptr_t word, Block& out) const {
        const std::uintptr_t offset = word - base();
        if (offset >= size()) return false;
        out = block(static_cast<std::uint32_t>(offset / block_size_));
        return true;
    }
    Reach reach(const Block& block) const { return reach_[block.index]; }
    void set_reach(const Block& block, Reach reach) { reach_[block.index] = reach; }
    template <class F>
    void each_block(F&& f) {
        for (std::uint32_t i = 0; i < count_; ++i) f(block(i));
    }

    Block block(std::uint32_t index) const { return {base() + index * block_size_, base() + (index + 1) * block_size_, index}; }
    Reach operator[](std::uint32_t index) const { return reach_[index]; }
    /// The word number `word` of a block.
    std::uintptr_t& at(std::uint32_t index, std::size_t word) {
        return reinterpret_cast<std::uintptr_t*>(base() + index * block_size_)[word];
    }
    void point(std::uint32_t from, std::uint32_t to, std::size_t word = 0) { at(from, word) = block(to).begin + to % block_size_; }
    void forget() {
        for (std::uint32_t i = 0; i < count_; ++i) reach_[i] = Reach::unseen;
    }
    std::uint32_t count() const { return count_; }
    std::uintptr_t base() const { return reinterpret_cast<std::uintptr_t>(mapping_) + around_; }
    std::size_t size() const { return count_ * block_size_; }

    static bool excluded(void* self, std::uintptr_t address, std::uintptr_t& end) {
        const auto& arena = *static_cast<ArenaFinder*>(self);
        const std::uintptr_t begin = arena.base(), behind = begin + arena.size();
        if (address < begin && end > begin) end = begin;
        if (address < begin || address >= behind) return false;
        if (end > behind) end = behind;
        return true;
    }

  private:
    std::uint32_t count_;
    std::size_t block_size_, around_;
    std::unique_ptr<Reach[]> reach_;
    char* mapping_;
};

/// A whole check of an arena.
struct ArenaCheck {
    explicit ArenaCheck(ArenaFinder& finder) : arena(finder) {}

    ArenaFinder& arena;
    std::size_t threads = 0, known = 0;
    bool visited = false;
    stop_world::Result seen{}, result{};
    void (*extra)(const stop_world::World&) = nullptr;

    ArenaCheck& run() {
        arena.forget();
        result = stop_world::run(callback, this);
        return *this;
    }

  private:
    static void callback(void* context, const stop_world::World& world) {
        auto& check = *static_cast<ArenaCheck*>(context);
        check.seen = world.result;
        check.threads = world.count;
        check.known = 0;
        for (std::size_t i = 0; i < world.count; ++i) check.known += world.threads[i].sp != 0 && world.threads[i].register_count > 8;
        if (check.extra != nullptr) check.extra(world);
        Reachability<ArenaFinder> marking(check.arena, {world.result != stop_world::Result::stopped, true});
        if (!marking.ready()) return;
        struct Both {
            ArenaFinder* arena;
            Reachability<ArenaFinder>* marking;
        } both{&check.arena, &marking};
        check.visited = roots::visit(
            world,
            [](void* c, std::uintptr_t address, std::uintptr_t& end) {
                return ArenaFinder::excluded(static_cast<Both*>(c)->arena, address, end);
            },
            [](void* c, const std::uintptr_t* begin, const std::uintptr_t* end) {
                Reachability<ArenaFinder>::add_roots(static_cast<Both*>(c)->marking, begin, end);
            },
            &both);
        marking.classify();
    }
};

}  // namespace mpmm::test
