// SPDX-License-Identifier: Apache-2.0
// Virtual threads as fibers of one system thread. Each atomic access of the allocator comes here, and the plan says who goes on. All that is
// decided is recorded, so that any run can be repeated as a directed one.
//
// When nobody can go on, or a run takes too many steps, or a thread fails, the run ends where it is: the fibers keep their stacks, and the
// process should do no more runs.
#pragma once

#include "harness/failure.hpp"
#include "schedule/plan.hpp"
#include "schedule/store_history.hpp"

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace mpmm::fuzz {

class FiberScheduler final : public schedule::Scheduler {
  public:
    /// What a step did, for whoever reads the trace.
    struct Step {
        schedule::Point point;
        std::uint8_t thread;
        bool has_value = false, old = false;
        std::uint64_t value = 0;
        std::size_t note = 0;  ///< how many notes had been made by then
    };
    struct Note {
        std::uint8_t thread;
        std::string text;
    };

    /// Between two signs of progress. Four threads that each look at a thousand blocks, or free them, take a third of it.
    static constexpr std::uint32_t max_steps = 1'000'000;

    FiberScheduler();
    ~FiberScheduler();
    FiberScheduler(const FiberScheduler&) = delete;
    FiberScheduler& operator=(const FiberScheduler&) = delete;

    /// Runs body(thread) in every virtual thread. What the bodies throw, a deadlock and a livelock are failures.
    std::optional<Failure> run(const Plan& plan, std::function<void(unsigned thread)> body);

    /// The last run as a directed plan.
    Plan directed() const;
    std::uint32_t steps() const { return step_; }
    /// Loads that could see more than one value, in the last run on weak memory.
    std::uint32_t choices() const { return choice_; }
    /// A hash of who did what: equal for equal runs.
    std::uint64_t trace_hash() const { return trace_hash_; }
    /// From now on steps and notes are kept.
    void keep_trace(bool wanted) { keeps_trace_ = wanted; }
    const std::vector<Step>& trace() const { return trace_; }
    const std::vector<Note>& notes() const { return notes_; }
    void note(std::string text);
    bool keeps_trace() const { return keeps_trace_; }

    /// What a thread did so far happens before what another does after it picks the clock up.
    VectorClock leave() { return history_.clock(schedule::thread_index); }
    void pick_up(const VectorClock& clock) { history_.clock(schedule::thread_index).join(clock); }
    bool running() const { return running_; }
    /// A thread got something done.
    void progress() { last_progress_ = step_; }

    void reach(const schedule::Point& point) override;
    std::uint64_t load(const schedule::Point& point, std::uint64_t newest) override;
    void refused(const schedule::Point& point, std::uint64_t newest) override;
    void store(const schedule::Point& point, std::uint64_t old, std::uint64_t value) override;
    void modify(const schedule::Point& point, std::uint64_t old, std::uint64_t value) override;
    bool fails_spuriously(const schedule::Point& point) override;
    void born(const void* address, std::size_t size) override;
    void sleep(const schedule::Point& point, const std::atomic<std::uint32_t>& word, std::uint32_t expected) override;

  private:
    class Fibers;
    enum class State : std::uint8_t { idle, ready, asleep, ended };

    static constexpr unsigned main_thread = max_fibers;

    void begin(const schedule::Point& point);
    unsigned choose(const schedule::Point& point);
    unsigned highest() const;
    bool is_ready(unsigned thread) const { return states_[thread] == State::ready; }
    void go_on(unsigned next);
    void leave_thread();
    [[noreturn]] void give_up(std::string why);
    void drop(unsigned thread) { priorities_[thread] = --lowest_priority_; }
    void body_of(unsigned thread);
    unsigned age_of_load(unsigned choices);
    void seen(std::uint64_t value, bool old);
    void look(const schedule::Point& point, std::size_t site);
    static void count(std::size_t from, std::size_t to);

    struct Stored {
        std::uintptr_t address = 0;
        std::size_t site = 0;
        unsigned thread = 0;
    };

    std::unique_ptr<Fibers> fibers_;
    StoreHistory history_;
    Plan plan_;
    std::function<void(unsigned)> body_;
    std::optional<Failure> failure_;
    Xorshift random_{0};
    State states_[max_fibers]{};
    const void* asleep_on_[max_fibers]{};
    int priorities_[max_fibers]{};
    int lowest_priority_ = 0;
    bool running_ = false, keeps_trace_ = false;
    std::uint32_t step_ = 0, last_progress_ = 0, choice_ = 0;
    std::size_t next_switch_ = 0, next_age_ = 0;
    std::vector<Directive> switches_, ages_, recorded_;
    std::uint64_t trace_hash_ = 0;
    std::size_t last_site_[max_fibers]{};
    std::array<Stored, 512> stored_{};
    std::vector<Step> trace_;
    std::vector<Note> notes_;
};

}  // namespace mpmm::fuzz
