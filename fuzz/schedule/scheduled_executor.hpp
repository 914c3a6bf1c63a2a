// SPDX-License-Identifier: Apache-2.0
// Runs a scheduled program: each virtual thread does its operations in order, and the plan says who goes on at every atomic access. The
// operations and the model are those of the executor; what only holds while nobody else is in the middle of something is checked at the end.
#pragma once

#include "harness/executor.hpp"
#include "schedule/fiber_scheduler.hpp"
#include "schedule/scheduled_program.hpp"
#include "schedule/unused_allocator.hpp"

#include <iosfwd>

namespace mpmm::fuzz {

class ScheduledExecutor : private Executor {
  public:
    ScheduledExecutor(Subject& subject, FiberScheduler& scheduler);
    ~ScheduledExecutor();
    ScheduledExecutor(const ScheduledExecutor&) = delete;
    ScheduledExecutor& operator=(const ScheduledExecutor&) = delete;

    /// Nothing when all checks held. The allocator is new for each run, so equal programs run equally.
    std::optional<Failure> run(const ScheduledProgram& scheduled);

  private:
    void start_over();
    void thread(const Program& program, unsigned number);
    static void check_rest();

    FiberScheduler& scheduler_;
    UnusedAllocator unused_;
    unsigned visits_ = 0;
};

/// The kept trace as one lane per thread. Stretches without a switch are shortened; marked are the steps at which another thread went on.
void print_trace(std::ostream& out, const FiberScheduler& scheduler, unsigned threads);

}  // namespace mpmm::fuzz
