// SPDX-License-Identifier: Apache-2.0
// Thread schedules: the operations of two to four virtual threads, and who goes on at each atomic access.
#include "harness/target.hpp"
#include "schedule/scheduled_executor.hpp"

using namespace mpmm::fuzz;

namespace {

FiberScheduler& scheduler() {
    static FiberScheduler one;
    return one;
}
const ScheduledProgram* running = nullptr;

void show() {
    if (running == nullptr) return;
    std::cerr << describe(*running) << std::flush;
    if (trace != nullptr) print_trace(*trace, scheduler(), running->plan.threads);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static Subject subject;
    static ScheduledExecutor executor(subject, scheduler());
    show_on_abort(show);
    scheduler().keep_trace(trace != nullptr);
    const ScheduledProgram scheduled = decode_scheduled({data, size});
    running = &scheduled;
    judge([&] {
        if (const auto failure = executor.run(scheduled)) throw *failure;
    });
    if (trace != nullptr) show();
    running = nullptr;
    return 0;
}
