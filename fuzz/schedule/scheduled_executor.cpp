// SPDX-License-Identifier: Apache-2.0
#include "schedule/scheduled_executor.hpp"

#include "harness/handoff.hpp"
#include "harness/print.hpp"
#include "harness/test_clock.hpp"

#include <algorithm>
#include <iomanip>
#include <ostream>
#include <string_view>

namespace mpmm::fuzz {

namespace {

/// The scheduler of the run, for the model.
FiberScheduler* current_scheduler = nullptr;

/// Looking at the whole heap takes thousands of steps: with more of it a run would do nothing else.
constexpr unsigned max_visits = 2;
bool visits_all(Kind kind) { return kind == Kind::stats || kind == Kind::walk || kind == Kind::verify || kind == Kind::find; }

}  // namespace

void Handoff::leave() {
    if (current_scheduler != nullptr && current_scheduler->running()) clock_ = current_scheduler->leave();
}
void Handoff::pick_up() const {
    if (current_scheduler != nullptr && current_scheduler->running()) current_scheduler->pick_up(clock_);
}

ScheduledExecutor::ScheduledExecutor(Subject& subject, FiberScheduler& scheduler) : Executor(subject), scheduler_(scheduler) {
    current_scheduler = &scheduler;
    races::unwatch();
    max_written_ = std::size_t{256} << 10;
}
ScheduledExecutor::~ScheduledExecutor() {
    races::watch();
    current_scheduler = nullptr;
}

std::optional<Failure> ScheduledExecutor::run(const ScheduledProgram& scheduled) {
    try {
        start_over();
        prepare(scheduled.program.flavour);
        concurrent_ = true;
        visits_ = 0;
        auto failure = scheduler_.run(scheduled.plan, [&](unsigned number) { thread(scheduled.program, number); });
        if (failure) return failure;
        concurrent_ = false;
        check_rest();
        finish();
        return std::nullopt;
    } catch (Failure& failure) {
        return Failure{"at the end: " + failure.message};
    }
}

void ScheduledExecutor::start_over() {
    threads_.reset();
    unused_.put_back();
    backend_.start_over();
    set_clock(first_ms);
    persistent_left_ = max_persistent;
}

/// Nobody is in the middle of anything: what waits for its owner must be on the way to him. The owner counts what he frees himself, and who
/// frees remotely counts last what is in the remote map: each share by itself must have woken a full block allocator.
void ScheduledExecutor::check_rest() {
    BuildHeap::shared.for_each_block_allocator([](auto& block) {
        if (block.owner().state() != OwnerState::full) return;
        const unsigned by_owner = block.returned.load(relaxed), by_others = block.remote_blocks();
        expect(std::max(by_owner, by_others) < block.wake_threshold(), "lost wake-up: of the full block allocator at ",
               static_cast<const void*>(block.base), " of ", block.size, " byte blocks its owner freed ", by_owner, " and others ",
               by_others, ", and nobody will look");
    });
}

void ScheduledExecutor::thread(const Program& program, unsigned number) {
    for (std::size_t i = 0; i < program.operations.size(); ++i) {
        const Operation& operation = program.operations[i];
        if (operation.thread != number) continue;
        if (visits_all(operation.kind) && visits_++ >= max_visits) continue;
        if (scheduler_.keeps_trace()) scheduler_.note(std::to_string(i) + ": " + describe(operation, model_));
        try {
            step(operation);
            scheduler_.progress();
        } catch (Failure& failure) {
            throw Failure{"operation " + std::to_string(i) + ", " + describe(operation) + ": " + failure.message};
        }
    }
}

void print_trace(std::ostream& out, const FiberScheduler& scheduler, unsigned threads) {
    static constexpr const char* words[] = {"load",      "store",     "exchange", "compare_exchange",
                                            "fetch_add", "fetch_sub", "fetch_or", "fetch_and",
                                            "spin",      "sleep",     "wake",     "call"};
    static constexpr const char* orders[] = {"relaxed", "consume", "acquire", "release", "acq_rel", "seq_cst"};
    constexpr std::size_t around = 6;
    constexpr int lane = 44;
    const auto& steps = scheduler.trace();
    const auto& notes = scheduler.notes();
    for (unsigned thread = 0; thread < threads; ++thread) out << std::left << std::setw(lane) << ("thread " + std::to_string(thread));
    out << '\n';
    const auto line = [&](unsigned thread, const std::string& text) {
        out << std::string(std::size_t{lane} * thread, ' ') << text << '\n';
    };
    std::size_t note = 0;
    const auto notes_before = [&](std::size_t end) {
        for (; note < end; ++note) line(notes[note].thread, "== " + notes[note].text);
    };
    // A step's distance to the nearest switch decides whether it is shown.
    const auto switches = [&](std::size_t i) { return i != 0 && steps[i].thread != steps[i - 1].thread; };
    std::size_t last_switch = 0, hidden = 0;
    std::vector<std::size_t> next_switch(steps.size() + 1, steps.size());
    for (std::size_t i = steps.size(); i-- > 0;) next_switch[i] = switches(i) ? i : next_switch[i + 1];
    for (std::size_t i = 0; i < steps.size(); ++i) {
        const auto& step = steps[i];
        if (switches(i)) last_switch = i;
        const bool shown = i - last_switch < around || next_switch[i] - i <= around;
        if (hidden != 0 && (shown || note < step.note)) {
            line(steps[i - 1].thread, "   ... " + std::to_string(hidden) + " steps");
            hidden = 0;
        }
        notes_before(step.note);
        if (!shown) {
            ++hidden;
            continue;
        }
        const std::string_view file = step.point.file;
        const std::size_t slash = file.rfind('/');
        std::ostringstream text;
        text << (switches(i) ? "-> " : "   ") << words[static_cast<unsigned>(step.point.access)] << ' '
             << file.substr(slash == std::string_view::npos ? 0 : slash + 1) << ':' << step.point.line;
        if (step.has_value)
            text << ' ' << orders[static_cast<unsigned>(step.point.order)] << ' ' << step.point.address << " = 0x" << std::hex << step.value
                 << (step.old ? " (old)" : "");
        line(step.thread, text.str());
    }
    notes_before(notes.size());
}

}  // namespace mpmm::fuzz
