// SPDX-License-Identifier: Apache-2.0
// A heap of its own for tests that break something in it, see who notices, and repair it.
#pragma once

#include "configs.hpp"
#include "heap/heap.hpp"

#include <condition_variable>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace mpmm::test {

/// A thread that does what it is told, one thing after another, and meanwhile exists.
class Other {
  public:
    Other() : thread_([this] { work(); }) {}
    ~Other() {
        run({});
        thread_.join();
    }
    void run(std::function<void()> task) {
        std::unique_lock lock(mutex_);
        const bool last = !task;
        task_ = std::move(task);
        busy_ = true;
        last_ = last;
        changed_.notify_all();
        changed_.wait(lock, [&] { return !busy_; });
    }

  private:
    void work() {
        std::unique_lock lock(mutex_);
        for (;;) {
            changed_.wait(lock, [&] { return busy_; });
            if (!last_) task_();
            busy_ = false;
            changed_.notify_all();
            if (last_) return;
        }
    }
    std::mutex mutex_;
    std::condition_variable changed_;
    std::function<void()> task_;
    bool busy_ = false, last_ = false;
    std::thread thread_;
};

class BrokenHeap : public ::testing::Test {
  protected:
    using C = Config<Geometry<8192, 64>, BuildVerify, 24>;
    using H = Heap<C>;
    using I = Inspector<C>;
    using V = C::Verify;
    using Block = H::Block;
    using Cache = H::Cache;
    using Entries = TenantEntries<H::G>;
    static constexpr std::size_t size = 96;
    static constexpr unsigned index_of_size = H::Classes::of(size);
    using Names = std::set<std::string>;

    void SetUp() override {
        options::set("halt_on_error", 13, "0", 1);
        memory = H::malloc(size);
        block = block_of(memory);
    }
    void TearDown() override {
        H::free(memory);
        for (void* address : filling) H::free(address);
        EXPECT_EQ(H::verify(), 0u) << "the test repaired what it broke";
        options::set("halt_on_error", 13, "1", 1);
    }
    static Block* block_of(void* address) { return static_cast<Block*>(H::shared.locate(address)); }
    static unsigned index_in_block(void* address) { return block_of(address)->find(address).index; }
    static std::uint64_t bit_of(void* address) { return std::uint64_t{1} << (index_in_block(address) % 64); }
    static BitmapWord& free_word_of(void* address) { return block_of(address)->free_map[index_in_block(address) / 64]; }
    static BitmapWord& remote_word_of(void* address) { return block_of(address)->remote_map[index_in_block(address) / 64]; }
    /// Allocates until a block allocator that was not current is full; all of its blocks.
    std::vector<void*> full_block_allocator() {
        std::vector<void*> blocks;
        Block* last = nullptr;
        for (;;) {
            void* const taken = H::malloc(size);
            Block* const of = block_of(taken);
            if (of != last) {
                if (last != nullptr && blocks.size() == last->blocks && last->owner().state() == OwnerState::full) {
                    filling.push_back(taken);
                    return blocks;
                }
                filling.insert(filling.end(), blocks.begin(), blocks.end());
                blocks.clear();
                last = of;
            }
            blocks.push_back(taken);
        }
    }
    /// Frees just enough of a full block allocator's blocks to wake it; the rest is freed at the end of the test.
    Block* wake(std::vector<void*> blocks) {
        Block* const of = block_of(blocks[0]);
        for (unsigned i = 0; i < of->wake_threshold(); ++i) {
            H::free(blocks.back());
            blocks.pop_back();
        }
        filling.insert(filling.end(), blocks.begin(), blocks.end());
        return of;
    }
    /// The invariants that `action` reports.
    template <class Action>
    static Names reported(Action action) {
        ::testing::internal::CaptureStderr();
        action();
        const std::string text = ::testing::internal::GetCapturedStderr();
        const std::string before = "allocator-corruption on address 0x";
        Names names;
        for (std::size_t at = 0; (at = text.find(before, at)) != std::string::npos; ++at) {
            // Behind the address in release, in the next line in verify.
            const std::size_t stop = text.find_first_of(":\n", at), begin = stop + (text[stop] == ':' ? 2 : 1),
                              end = text.find(": found ", begin);
            names.insert(text.substr(begin, end - begin));
        }
        return names;
    }
    /// What the check of the whole heap reports.
    static Names check() {
        return reported([] { H::verify(); });
    }
    /// What it reports while `place` is `value`.
    template <class Place, class Value>
    static Names with(Place& place, Value value) {
        const Place old = place;
        place = static_cast<Place>(value);
        Names names = check();
        place = old;
        return names;
    }
    template <class Value>
    static Names with(HalvedWord& place, Value value) {
        const std::uint64_t old = place.load();
        place.store(static_cast<std::uint64_t>(value));
        Names names = check();
        place.store(old);
        return names;
    }
    template <class T, class Value>
    static Names with(Atomic<T>& place, Value value) {
        const T old = place.load();
        place.store(static_cast<T>(value));
        Names names = check();
        place.store(old);
        return names;
    }

    void* memory = nullptr;
    Block* block = nullptr;
    std::vector<void*> filling;
};

}  // namespace mpmm::test
