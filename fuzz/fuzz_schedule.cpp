// SPDX-License-Identifier: Apache-2.0
// Thread schedules: the operations of two to four virtual threads, and who goes on at each atomic access.
#include "harness/target.hpp"
#include "schedule/scheduled_executor.hpp"

#include <unistd.h>

using namespace mpmm::fuzz;

namespace {

FiberScheduler& scheduler() {
    static FiberScheduler one;
    return one;
}
const ScheduledProgram* running = nullptr;

/// Of so many runs one is repeated: runs depend on their input alone, or no finding could be replayed.
constexpr unsigned repeat_one_in = 1000;

void show() {
    if (running == nullptr) return;
    if (record_to != -1) {
        const auto bytes = encode({running->program, scheduler().directed()});
        if (::write(record_to, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) std::cerr << "not recorded\n";
    }
    std::cerr << describe(*running) << std::flush;
    if (trace != nullptr) print_trace(*trace, scheduler(), running->plan.threads);
}

}  // namespace

const Shape mpmm::fuzz::shape{split_scheduled, join_scheduled, describe_scheduled_header, describe_scheduled_item};

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static Subject subject;
    static ScheduledExecutor executor(subject, scheduler());
    show_on_abort(show);
    scheduler().keep_trace(trace != nullptr);
    const ScheduledProgram scheduled = decode_scheduled({data, size});
    running = &scheduled;
    static unsigned runs = 0;
    judge([&] {
        if (const auto failure = executor.run(scheduled)) throw *failure;
        if (++runs % repeat_one_in != 0) return;
        const auto hash = scheduler().trace_hash();
        if (const auto failure = executor.run(scheduled)) throw *failure;
        expect(scheduler().trace_hash() == hash, "the program ran differently the second time");
    });
    if (trace != nullptr) show();
    running = nullptr;
    return 0;
}
