// SPDX-License-Identifier: Apache-2.0
// Compiled without sanitizers: a switch of stacks in instrumented code would leave their books wrong, and the scheduler's own data would
// order what the virtual threads do.
#include "schedule/fiber_scheduler.hpp"

#include "harness/races.hpp"

#include <boost/context/fiber.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <sys/mman.h>

#if defined(MPMM_FUZZ_ASAN)
#include <sanitizer/common_interface_defs.h>
#endif

/// libFuzzer takes a counter that was never so high for a new feature: orders of accesses that were not seen before make an input worth
/// keeping.
__attribute__((section("__libfuzzer_extra_counters"))) static std::uint8_t order_counters[1 << 14];

#if defined(MPMM_FUZZ_TSAN)
/// Instead of the C library's: each virtual thread has an errno of its own, or every failure would race with every other.
extern "C" int* __errno_location() noexcept {
    static constinit int numbers[mpmm::fuzz::max_fibers]{};
    return &numbers[mpmm::schedule::thread_index];
}
#endif

namespace mpmm::fuzz {

using schedule::Access, schedule::Point, schedule::thread_index;

/// The stacks, and the way from one to another.
class FiberScheduler::Fibers {
  public:
    explicit Fibers(FiberScheduler& scheduler) {
        for (unsigned thread = 0; thread < max_fibers; ++thread) {
            void* const stack = ::mmap(nullptr, stack_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
            if (stack == MAP_FAILED) std::abort();
            sides_[thread].bottom = stack;
            sides_[thread].size = stack_size;
#if defined(MPMM_FUZZ_TSAN)
            sides_[thread].in_detector = __tsan_create_fiber(0);
#endif
            const boost::context::stack_context context{.size = stack_size, .sp = static_cast<char*>(stack) + stack_size};
            sides_[thread].fiber =
                boost::context::fiber(std::allocator_arg, boost::context::preallocated(context.sp, context.size, context), Keeper{},
                                      [this, &scheduler, thread](boost::context::fiber&& from) {
                                          arrive(std::move(from), nullptr);
                                          races::unwatch();
                                          for (;;) scheduler.body_of(thread);
                                          return boost::context::fiber{};
                                      });
        }
    }

    /// Goes on in `to`; returns when somebody goes on here.
    void go_on(unsigned to) {
        const unsigned from = current_;
        const int saved_errno = errno;
        void* fake_stack = nullptr;
        left_ = from;
        current_ = to;
        if (to != main_thread) thread_index = to;
#if defined(MPMM_FUZZ_ASAN)
        __sanitizer_start_switch_fiber(&fake_stack, sides_[to].bottom, sides_[to].size);
#elif defined(MPMM_FUZZ_TSAN)
        sides_[from].in_detector = __tsan_get_current_fiber();
        // Only what the threads themselves do orders them.
        __tsan_switch_to_fiber(sides_[to].in_detector, __tsan_switch_to_fiber_no_sync);
#endif
        arrive(std::move(sides_[to].fiber).resume(), fake_stack);
        errno = saved_errno;
    }

  private:
    /// The stacks are never given back: a run that failed leaves them as they are.
    struct Keeper {
        boost::context::stack_context allocate() { std::abort(); }
        void deallocate(boost::context::stack_context&) {}
    };
    struct Side {
        boost::context::fiber fiber;
        const void* bottom = nullptr;
        std::size_t size = 0;
        void* in_detector = nullptr;  ///< ThreadSanitizer's
    };
    static constexpr std::size_t stack_size = std::size_t{1} << 20;

    void arrive(boost::context::fiber&& from, void* fake_stack) {
        Side& side = sides_[left_];
        side.fiber = std::move(from);
#if defined(MPMM_FUZZ_ASAN)
        __sanitizer_finish_switch_fiber(fake_stack, &side.bottom, &side.size);
#endif
        (void)fake_stack;
    }

    Side sides_[max_fibers + 1];
    unsigned current_ = main_thread, left_ = main_thread;
};

FiberScheduler::FiberScheduler() : fibers_(std::make_unique<Fibers>(*this)) {}
FiberScheduler::~FiberScheduler() {
    // A stack in the middle of a run cannot be unwound: it stays.
    static auto& kept = *new std::vector<Fibers*>;
    kept.push_back(fibers_.release());
}

std::optional<Failure> FiberScheduler::run(const Plan& plan, std::function<void(unsigned)> body) {
    plan_ = plan;
    body_ = std::move(body);
    failure_.reset();
    random_ = Xorshift(plan.seed);
    step_ = last_progress_ = choice_ = 0;
    next_switch_ = next_age_ = 0;
    switches_.clear();
    ages_.clear();
    recorded_.clear();
    for (const Directive& directive : plan.directives) (directive.of_a_load ? ages_ : switches_).push_back(directive);
    const auto earlier = [](const Directive& a, const Directive& b) { return std::pair(a.at, a.value) < std::pair(b.at, b.value); };
    std::sort(switches_.begin(), switches_.end(), earlier);
    std::sort(ages_.begin(), ages_.end(), earlier);
    if (plan.strategy == Strategy::pct) {
        // Change points that the input does not name.
        while (switches_.size() + 1 < plan.depth) switches_.push_back({random_.below(400), 0, false});
        std::sort(switches_.begin(), switches_.end(), earlier);
    }
    history_.clear();
    stored_.fill({});
    trace_.clear();
    notes_.clear();
    trace_hash_ = 0xcbf29ce484222325u;
    lowest_priority_ = 0;
    for (unsigned thread = 0; thread < max_fibers; ++thread) {
        states_[thread] = thread < plan.threads ? State::ready : State::idle;
        priorities_[thread] = static_cast<int>(1 + (random_() >> 8));
        last_site_[thread] = 0;
    }
    running_ = true;
    const unsigned before = thread_index;
    schedule::scheduler = this;
    unsigned first = 0;
    if (plan.strategy == Strategy::pct) first = highest();
    if (plan.strategy == Strategy::random) first = random_.below(plan.threads);
    if (plan.strategy == Strategy::directed && !switches_.empty() && switches_[0].at == 0) {
        first = switches_[0].value % plan.threads;
        ++next_switch_;
    }
    recorded_.push_back({0, static_cast<std::uint8_t>(first), false});
    races::leave(&body_);
    fibers_->go_on(first);
    races::pick_up(&running_);
    schedule::scheduler = nullptr;
    running_ = false;
    thread_index = before;
    return std::move(failure_);
}

void FiberScheduler::body_of(unsigned thread) {
    races::pick_up(&body_);
    try {
        body_(thread);
    } catch (Failure& failure) {
        failure_ = std::move(failure);
    }
    races::leave(&running_);
    if (failure_) fibers_->go_on(main_thread);
    states_[thread] = State::ended;
    leave_thread();
}

/// The current thread cannot go on: another does, or the run is over.
void FiberScheduler::leave_thread() {
    bool any = false, waits = false;
    for (unsigned other = 0; other < plan_.threads; ++other) {
        any = any || is_ready(other);
        waits = waits || states_[other] == State::asleep;
    }
    if (!any && !waits) {
        fibers_->go_on(main_thread);
        return;
    }
    ++step_;
    if (!any) give_up("deadlock: every thread that has not ended sleeps");
    const Point end{Access::sleep, std::memory_order_relaxed, nullptr, "", 0};
    go_on(choose(end));
}

void FiberScheduler::give_up(std::string why) {
    failure_ = Failure{std::move(why)};
    fibers_->go_on(main_thread);
    std::abort();
}

Plan FiberScheduler::directed() const {
    Plan plan = plan_;
    plan.strategy = Strategy::directed;
    plan.depth = 1;
    plan.directives = recorded_;
    return plan;
}

void FiberScheduler::note(std::string text) {
    if (keeps_trace_) notes_.push_back({static_cast<std::uint8_t>(thread_index), std::move(text)});
}

unsigned FiberScheduler::highest() const {
    unsigned best = max_fibers;
    for (unsigned thread = 0; thread < plan_.threads; ++thread)
        if (is_ready(thread) && (best == max_fibers || priorities_[thread] > priorities_[best])) best = thread;
    return best;
}

/// Who takes the step that is about to be.
unsigned FiberScheduler::choose(const Point& point) {
    const unsigned current = thread_index;
    const bool waits = point.access == Access::spin || point.access == Access::sleep;
    if (waits) drop(current);
    switch (plan_.strategy) {
        case Strategy::pct:
            for (; next_switch_ < switches_.size() && switches_[next_switch_].at <= step_; ++next_switch_) drop(current);
            return highest();
        case Strategy::random: {
            unsigned ready[max_fibers], count = 0;
            for (unsigned thread = 0; thread < plan_.threads; ++thread)
                if (is_ready(thread) && (!waits || thread != current)) ready[count++] = thread;
            return count != 0 ? ready[random_.below(count)] : current;
        }
        case Strategy::directed: break;
    }
    unsigned wanted = current;
    for (; next_switch_ < switches_.size() && switches_[next_switch_].at <= step_; ++next_switch_)
        wanted = switches_[next_switch_].value % plan_.threads;
    if (is_ready(wanted) && (wanted != current || !waits)) return wanted;
    return highest();
}

void FiberScheduler::go_on(unsigned next) {
    if (next == thread_index) return;
    recorded_.push_back({step_, static_cast<std::uint8_t>(next), false});
    fibers_->go_on(next);
}

void FiberScheduler::reach(const Point& point) {
    if (!running_) return;
    const races::Unwatched unwatched;
    if (++step_ - last_progress_ > max_steps) give_up("livelock: nobody got on in " + std::to_string(max_steps) + " steps");
    const std::size_t site = reinterpret_cast<std::uintptr_t>(point.file) * 31 + point.line;
    const unsigned left = thread_index;
    last_site_[left] = site;
    const unsigned next = choose(point);
    if (next != left) {
        // Which places the threads stand at when one hands over to the other.
        count(site, last_site_[next] + 0x5bd1e995);
        go_on(next);
    }
    look(point, site);
    if (point.access == Access::wake)
        for (unsigned thread = 0; thread < plan_.threads; ++thread)
            if (states_[thread] == State::asleep && asleep_on_[thread] == point.address) {
                states_[thread] = State::ready;
                break;
            }
    trace_hash_ = (trace_hash_ ^ (point.line * 8u + thread_index)) * 0x100000001b3u;
    if (keeps_trace_) trace_.push_back({point, static_cast<std::uint8_t>(thread_index), false, false, 0, notes_.size()});
}

/// Counts which place's store which other thread's place meets.
void FiberScheduler::look(const Point& point, std::size_t site) {
    const auto address = reinterpret_cast<std::uintptr_t>(point.address);
    Stored& stored = stored_[(address >> 3) % stored_.size()];
    if (stored.address == address && stored.thread != thread_index) count(stored.site, site);
    if (point.access != Access::load) stored = {address, site, thread_index};
}

void FiberScheduler::count(std::size_t from, std::size_t to) {
    const std::size_t hash = (from * 0x9E3779B97F4A7C15u ^ to * 0xC2B2AE3D27D4EB4Fu) >> 20;
    order_counters[hash % sizeof order_counters] = 1;
}

void FiberScheduler::seen(std::uint64_t value, bool old) {
    trace_hash_ = (trace_hash_ ^ static_cast<std::uint64_t>(old)) * 0x100000001b3u;
    if (!keeps_trace_ || trace_.empty()) return;
    Step& step = trace_.back();
    step.value = value;
    step.has_value = true;
    step.old = old;
}

/// How old a value a load with that many choices sees.
unsigned FiberScheduler::age_of_load(unsigned choices) {
    ++choice_;
    unsigned age = 0;
    if (plan_.strategy == Strategy::directed) {
        for (; next_age_ < ages_.size() && ages_[next_age_].at <= choice_; ++next_age_)
            if (ages_[next_age_].at == choice_) age = std::min<unsigned>(ages_[next_age_].value, choices - 1);
    } else if (random_.below(4) == 0) {
        age = random_.below(choices);
    }
    if (age != 0) recorded_.push_back({choice_, static_cast<std::uint8_t>(age), true});
    return age;
}

std::uint64_t FiberScheduler::load(const Point& point, std::uint64_t newest) {
    if (!running_) return newest;
    const races::Unwatched unwatched;
    std::uint64_t value = newest;
    unsigned age = 0;
    if (plan_.weak) {
        const unsigned choices = history_.choices(thread_index, point, newest);
        if (choices > 1) age = age_of_load(choices);
        value = history_.load(thread_index, point, age);
    }
    seen(value, age != 0);
    return value;
}

void FiberScheduler::refused(const Point& point, std::uint64_t newest) {
    if (!running_) return;
    const races::Unwatched unwatched;
    if (plan_.weak) {
        history_.choices(thread_index, point, newest);
        history_.load(thread_index, point, 0);
    }
    seen(newest, false);
}

void FiberScheduler::store(const Point& point, std::uint64_t old, std::uint64_t value) {
    if (!running_) return;
    const races::Unwatched unwatched;
    if (plan_.weak) history_.store(thread_index, point, old, value);
    seen(value, false);
}

void FiberScheduler::modify(const Point& point, std::uint64_t old, std::uint64_t value) {
    if (!running_) return;
    const races::Unwatched unwatched;
    if (plan_.weak) history_.modify(thread_index, point, old, value);
    seen(value, false);
}

bool FiberScheduler::fails_spuriously(const Point&) {
    const races::Unwatched unwatched;
    return running_ && plan_.weak && age_of_load(2) != 0;
}

void FiberScheduler::born(const void* address, std::size_t size) {
    const races::Unwatched unwatched;
    if (running_ && plan_.weak) history_.forget(address, size);
}

void FiberScheduler::sleep(const Point& point, const std::atomic<std::uint32_t>& word, std::uint32_t expected) {
    const races::Unwatched unwatched;
    reach(point);
    if (word.load(std::memory_order_relaxed) != expected) return;
    states_[thread_index] = State::asleep;
    asleep_on_[thread_index] = point.address;
    leave_thread();
}

}  // namespace mpmm::fuzz
