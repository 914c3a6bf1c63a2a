// SPDX-License-Identifier: Apache-2.0
// explore_schedules: all programs of a few threads with a few operations from a small alphabet, each under every schedule with at most some
// delays: a thread runs on until it ends or waits, but at the steps that are chosen another one goes on (M. Emmi, S. Qadeer and Z. Rakamarić,
// "Delay-Bounded Scheduling", POPL 2011). On weak memory also with every single load that can see an old value seeing it. Prints how many there were.
//
// --scenarios: instead the programs in which threads meet where memory orders matter most. --random N: as many random programs instead.
// --repeat N: random programs, each run twice and a third time as the directed plan that the first run was recorded as: all three must take the
// same steps.
//
// Exits 1 at the first failure, whose program is written to failed.schedule.
#include "harness/sizes.hpp"
#include "harness/target.hpp"
#include "schedule/scheduled_executor.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdlib>
#include <fstream>

using namespace mpmm::fuzz;

namespace {

/// A class with two blocks to a block allocator: full after two, empty again after two more.
const std::uint16_t size = boundary(108);

struct Bounds {
    unsigned operations = 3, delays = 1, threads = 2, old_values = 0;
};

/// The program of the run, for whoever dies in it.
const ScheduledProgram* running = nullptr;

void keep() {
    const auto bytes = encode(*running);
    std::ofstream("failed.schedule", std::ios::binary).write(reinterpret_cast<const char*>(bytes.data()), static_cast<long>(bytes.size()));
    std::cerr << describe(*running) << "the program is in failed.schedule\n";
}

/// The first thread begins with full block allocators; then the alphabet.
constexpr Operation operation(Kind kind, std::uint16_t of_size, std::uint16_t slot, std::uint8_t variant = 0) {
    return {.kind = kind, .thread = 0, .variant = variant, .size = of_size, .slot = slot};
}
const Operation alphabet[] = {
    operation(Kind::malloc, size, 0),          operation(Kind::malloc_batch, size, 8 + 1), operation(Kind::free, size, 0, 2),
    operation(Kind::free_range, 16 + 1, 0, 2), operation(Kind::tcache_release, 0, 0),      operation(Kind::purge, 0, 0),
    operation(Kind::realloc, boundary(20), 0),
};

constexpr Operation by(unsigned thread, Operation operation) {
    operation.thread = static_cast<std::uint8_t>(thread);
    return operation;
}
/// `count` blocks of `of_size`, at most 40.
constexpr Operation batch(std::uint16_t of_size, unsigned count) {
    return operation(Kind::malloc_batch, of_size, static_cast<std::uint16_t>(8 * (count - 1) + 1));
}
constexpr Operation free_of(unsigned slot) { return operation(Kind::free, 0, static_cast<std::uint16_t>(slot), 2); }
constexpr Operation malloc_of(std::uint16_t of_size) { return operation(Kind::malloc, of_size, 0); }
constexpr Operation simple(Kind kind) { return operation(kind, 0, 0); }

/// Of this class a block allocator has 128 blocks, in two words, and wakes up when eight are back; and large blocks.
const std::uint16_t many = boundary(41), large = boundary(117);

struct Scenario {
    const char* name;
    std::vector<Operation> operations;
};
const Scenario scenarios[] = {
    {"a block comes back while its block allocator becomes full", {batch(size, 2), by(1, free_of(0)), malloc_of(size)}},
    {"both of a full one come back, from two threads", {batch(size, 3), by(1, free_of(0)), by(2, free_of(0)), malloc_of(size)}},
    {"the owner and another wake it up", {batch(size, 3), by(1, free_of(0)), free_of(0), malloc_of(size)}},
    {"two full ones are pushed to one owner", {batch(size, 5), by(1, free_of(0)), by(2, free_of(2)), malloc_of(size), malloc_of(size)}},
    {"the owner ends while a block comes back",
     {batch(size, 3), by(1, free_of(0)), simple(Kind::tcache_release), by(2, malloc_of(size)), by(2, malloc_of(size))}},
    {"one is adopted while a block comes back",
     {batch(size, 3), simple(Kind::tcache_release), by(1, malloc_of(size)), by(1, malloc_of(size)), by(2, free_of(0)),
      by(1, malloc_of(size))}},
    {"its memory is used for another class",
     {batch(size, 2), free_of(0), free_of(0), simple(Kind::tcache_release), by(1, malloc_of(many)), by(2, malloc_of(size))}},
    {"a large block goes from hand to hand",
     {malloc_of(large), by(1, free_of(0)), by(1, simple(Kind::lcache_purge)), by(2, malloc_of(large)), by(2, free_of(0)),
      malloc_of(large)}},
    {"another asks about what just came and goes",
     {malloc_of(large), batch(size, 2), by(1, operation(Kind::find, 0, 0)), free_of(0), by(1, operation(Kind::find, 0, 1))}},
    {"two threads free the last that are missing, in different words",
     {batch(many, 40), batch(many, 40), batch(many, 40), batch(many, 10), by(1, operation(Kind::free_range, 8 * 5 + 1, 0, 2)),
      by(1, simple(Kind::tcache_flush)), by(1, free_of(20)), by(1, simple(Kind::tcache_flush)), by(2, free_of(100)),
      by(2, simple(Kind::tcache_flush))}},
};

class Explorer {
  public:
    explicit Explorer(const Bounds& bounds) : bounds_(bounds) {
        scheduled_.plan.weak = bounds.old_values != 0;
        scheduled_.plan.threads = static_cast<std::uint8_t>(bounds.threads);
        scheduled_.plan.strategy = Strategy::directed;
        // A full block allocator for every other thread to free.
        scheduled_.program.operations = {operation(Kind::malloc_batch, size, static_cast<std::uint16_t>(8 * (2 * bounds.threads - 3) + 1))};
    }

    bool run() {
        if (!run_schedule()) return false;
        beginning_steps_ = scheduler_.steps();
        for (unsigned count = 1; count <= bounds_.operations; ++count)
            if (!programs(count)) return false;
        return true;
    }
    bool run_scenarios() {
        for (const Scenario& scenario : scenarios) {
            scheduled_.program.operations = scenario.operations;
            scheduled_.plan.threads = 2;
            for (const Operation& operation : scenario.operations)
                scheduled_.plan.threads = std::max(scheduled_.plan.threads, static_cast<std::uint8_t>(operation.thread + 1));
            ++programs_;
            const unsigned long before = schedules_;
            if (!delays(bounds_.delays, 0)) return false;
            std::cout << scenario.name << ": " << schedules_ - before << " schedules" << std::endl;
        }
        return true;
    }
    bool run_random(unsigned count) {
        for (programs_ = 0; programs_ < count; ++programs_) {
            Random random(static_cast<Random::result_type>(Xorshift(programs_)()));
            scheduled_ = random_scheduled(random);
            if (!run_schedule()) return false;
        }
        return true;
    }
    bool repeat(unsigned count) {
        for (programs_ = 0; programs_ < count; ++programs_) {
            Random random(static_cast<Random::result_type>(Xorshift(programs_)()));
            scheduled_ = random_scheduled(random);
            if (!run_schedule()) return false;
            const auto hash = scheduler_.trace_hash();
            const Plan recorded = scheduler_.directed();
            if (!runs_as(hash, "the second time")) return false;
            scheduled_.plan = recorded;
            if (!runs_as(hash, "as it was recorded")) return false;
        }
        return true;
    }
    void print() const {
        std::cout << programs_ << " programs, " << schedules_ << " schedules, " << steps_ << " steps (" << mpmm_version() << ")\n";
    }

  private:
    bool runs_as(std::uint64_t hash, const char* when) {
        if (!run_schedule()) return false;
        if (scheduler_.trace_hash() == hash) return true;
        std::cerr << "FAILED: the program ran differently " << when << '\n';
        keep();
        return false;
    }
    /// Every program of `left` more operations.
    bool programs(unsigned left) {
        if (left == 0) {
            ++programs_;
            return delays(bounds_.delays, beginning_steps_);
        }
        auto& operations = scheduled_.program.operations;
        for (const Operation& letter : alphabet)
            // Programs that differ only in how the threads' operations are written down are the same; so are those that differ in the threads' names.
            for (std::uint8_t thread = operations.back().thread; thread < std::min(bounds_.threads, operations.back().thread + 2u);
                 ++thread) {
                operations.push_back(letter);
                operations.back().thread = thread;
                const bool held = programs(left - 1);
                operations.pop_back();
                if (!held) return false;
            }
        return true;
    }
    bool with(const Directive& directive, unsigned delays_left, std::uint32_t from) {
        scheduled_.plan.directives.push_back(directive);
        const bool held = delays(delays_left, from);
        scheduled_.plan.directives.pop_back();
        return held;
    }
    /// Runs with the delays so far, then with an old value at every load, and with one more delay at every later step.
    bool delays(unsigned left, std::uint32_t from) {
        if (!run_schedule()) return false;
        const std::uint32_t end = scheduler_.steps(), choices = scheduler_.choices();
        for (std::uint32_t choice = 1; choice <= choices; ++choice)
            for (std::uint8_t age = 1; age <= bounds_.old_values; ++age) {
                scheduled_.plan.directives.push_back({choice, age, true});
                const bool held = run_schedule();
                scheduled_.plan.directives.pop_back();
                if (!held) return false;
            }
        if (left == 0) return true;
        for (std::uint32_t step = from + 1; step < end; ++step)
            for (std::uint8_t thread = 0; thread < scheduled_.plan.threads; ++thread)
                if (!with({step, thread, false}, left - 1, step)) return false;
        return true;
    }
    bool run_schedule() {
        ++schedules_;
        running = &scheduled_;
        const auto failure = executor_.run(scheduled_);
        steps_ += scheduler_.steps();
        if (!failure) return true;
        std::cerr << "FAILED: " << failure->message << '\n';
        keep();
        return false;
    }

    FiberScheduler scheduler_;
    Subject subject_;
    ScheduledExecutor executor_{subject_, scheduler_};
    ScheduledProgram scheduled_;
    Bounds bounds_;
    std::uint32_t beginning_steps_ = 0;
    unsigned long programs_ = 0, schedules_ = 0, steps_ = 0;
};

}  // namespace

int main(int count, char** arguments) {
    CLI::App app{"All schedules of small programs"};
    Bounds bounds;
    unsigned random = 0, repeat = 0;
    bool of_scenarios = false;
    app.add_option("--operations", bounds.operations, "of a program, at most")->capture_default_str();
    app.add_option("--delays", bounds.delays, "of a schedule, at most")->capture_default_str();
    app.add_option("--threads", bounds.threads, "of a program")->check(CLI::Range(2, 4))->capture_default_str();
    app.add_option("--old-values", bounds.old_values, "how old a value one load of a schedule may see")->capture_default_str();
    app.add_flag("--scenarios", of_scenarios, "the scenarios instead of all programs");
    app.add_option("--random", random, "so many random programs instead");
    app.add_option("--repeat", repeat, "so many random programs, each three times");
    CLI11_PARSE(app, count, arguments);
    show_on_abort(keep);
    Explorer explorer(bounds);
    if (!(of_scenarios  ? explorer.run_scenarios()
          : random != 0 ? explorer.run_random(random)
          : repeat != 0 ? explorer.repeat(repeat)
                        : explorer.run()))
        return 1;
    explorer.print();
    return 0;
}
