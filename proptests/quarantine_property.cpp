// SPDX-License-Identifier: Apache-2.0
// The quarantine against lists of what waits: every block comes out once and in order, neither too early nor so late that more waits than
// may. Threads are played by one that changes its batch.
#include "verify/quarantine.hpp"
#include "platform/thread_pointer.hpp"

#include <deque>
#include <gtest/gtest.h>
#include <ostream>
#include <rapidcheck.h>
#include <vector>

namespace mpmm {
namespace {

using quarantine::Batch;

constexpr unsigned thread_count = 3;

enum class Kind : unsigned { add, publish, limit, let_go };
constexpr const char* names[] = {"add", "publish", "limit", "let go"};

struct Step {
    Kind kind = Kind::add;
    unsigned thread = 0, count = 0;
    std::size_t bytes = 0;
};
std::ostream& operator<<(std::ostream& out, const Step& step) {
    return out << names[static_cast<unsigned>(step.kind)] << " thread " << step.thread << " count " << step.count << " bytes "
               << step.bytes;
}

rc::Gen<std::vector<Step>> steps() {
    const auto kind = rc::gen::element(Kind::add, Kind::add, Kind::add, Kind::publish, Kind::limit, Kind::let_go);
    const auto bytes =
        rc::gen::oneOf(rc::gen::inRange<std::size_t>(0, 4), rc::gen::inRange<std::size_t>(0, 4 * sizeof(Batch)),
                       rc::gen::inRange<std::size_t>(0, std::size_t{1} << 20), rc::gen::inRange<std::size_t>(0, std::size_t{1} << 24));
    const auto count = rc::gen::oneOf(rc::gen::inRange(1u, 4u), rc::gen::inRange(1u, 300u));
    return rc::gen::container<std::vector<Step>>(
        rc::gen::build<Step>(rc::gen::set(&Step::kind, kind), rc::gen::set(&Step::thread, rc::gen::inRange(0u, thread_count)),
                             rc::gen::set(&Step::count, count), rc::gen::set(&Step::bytes, bytes)));
}

class Waiting {
  public:
    Waiting() { empty(); }
    ~Waiting() {
        for (Batch*& batch : batches_) {
            Local::value = batch;
            quarantine::publish();
        }
        empty();
    }
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;

    void step(const Step& step) {
        switch (step.kind) {
            case Kind::add:
                for (unsigned i = 0; i < step.count; ++i) add(step.thread, step.bytes);
                break;
            case Kind::publish:
                as(step.thread, quarantine::publish);
                published(step.thread);
                break;
            case Kind::limit: limit_ = step.bytes; break;
            case Kind::let_go: let_go(limit_); break;
        }
    }
    /// At the end of the process nothing stays.
    void finish() {
        for (unsigned thread = 0; thread < thread_count; ++thread) step({Kind::publish, thread, 0, 0});
        let_go(0);
        RC_ASSERT(list_.empty());
    }

  private:
    using Local = ThreadPointer<Batch>;
    struct Block {
        std::size_t number, bytes;
    };
    using Blocks = std::vector<Block>;

    static void empty() {
        quarantine::publish();
        while (Batch* const batch = quarantine::overdue(0)) quarantine::recycle(batch);
    }
    template <class Do>
    void as(unsigned thread, Do todo) {
        Local::value = batches_[thread];
        todo();
        batches_[thread] = std::exchange(Local::value, nullptr);
    }
    static std::size_t cost(const Blocks& blocks) {
        std::size_t sum = sizeof(Batch);
        for (const Block& block : blocks) sum += block.bytes;
        return sum;
    }
    std::size_t waiting() const {
        std::size_t sum = 0;
        for (const Blocks& blocks : list_) sum += cost(blocks);
        return sum;
    }

    /// What does not fit at all does not come here.
    void add(unsigned thread, std::size_t bytes) {
        if (bytes > limit_) return;
        as(thread, [&] {
            Place place;
            place.user = reinterpret_cast<std::byte*>(++number_);
            RC_ASSERT(quarantine::add(place, bytes, limit_));
        });
        own_[thread].push_back({number_, bytes});
        const std::size_t share = std::min<std::size_t>(limit_ / 16, 256 * 1024);
        const bool stays = own_[thread].size() < Batch::capacity && cost(own_[thread]) <= share;
        RC_ASSERT((batches_[thread] != nullptr) == stays);
        if (!stays) published(thread);
    }
    void published(unsigned thread) {
        RC_ASSERT(batches_[thread] == nullptr);
        Blocks& own = own_[thread];
        if (own.empty()) return;
        if (!list_.empty() && list_.back().size() + own.size() <= Batch::capacity)
            list_.back().insert(list_.back().end(), own.begin(), own.end());
        else list_.push_back(own);
        own.clear();
    }
    void let_go(std::size_t limit) {
        while (Batch* const batch = quarantine::overdue(limit)) {
            RC_ASSERT(!list_.empty());
            RC_ASSERT(limit == 0 || waiting() > limit);
            const Blocks oldest = list_.front();
            list_.pop_front();
            RC_ASSERT(batch->bytes == cost(oldest));
            RC_ASSERT(batch->count == oldest.size());
            for (std::size_t i = 0; i < oldest.size(); ++i)
                RC_ASSERT(reinterpret_cast<std::uintptr_t>(batch->blocks[i].user) == oldest[i].number);
            quarantine::recycle(batch);
        }
        RC_ASSERT(waiting() <= limit);
    }

    std::size_t limit_ = std::size_t{1} << 24, number_ = 0;
    Batch* batches_[thread_count]{};
    Blocks own_[thread_count];
    std::deque<Blocks> list_;
};

TEST(QuarantineProperty, LetsGoInOrderAndInTime) {
    EXPECT_TRUE(rc::check("lets go in order and in time", [] {
        const auto todo = *steps();
        Waiting waiting;
        for (const Step& step : todo) waiting.step(step);
        waiting.finish();
    }));
}

}  // namespace
}  // namespace mpmm
