// SPDX-License-Identifier: Apache-2.0
// Which thread runs when, and which of the values it may see a load sees: the part of a fuzz input that is not operations.
//
// Strategies:
//   pct       every thread has a random priority, the highest that can run does, and at depth-1 steps the running one drops below all
//             others (S. Burckhardt et al., "A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs", ASPLOS 2010). A thread
//             that spins drops as well, so that the one it waits for gets on.
//   random    at every step one of the threads that can run, by a seeded generator
//   explicit  runs on until a step that the plan names: the form every other run is recorded in
#pragma once

#include <cstdint>
#include <vector>

namespace mpmm::fuzz {

/// That have a fiber. Few: what two or three threads do to each other is what is looked for.
inline constexpr unsigned max_fibers = 4;

enum class Strategy : std::uint8_t { pct, random, directed };

/// At a step another thread goes on (or, for pct, the running one drops); or a load, counted among those that had a choice, sees an old value.
struct Directive {
    std::uint32_t at = 0;    ///< number of the step, or of the choice
    std::uint8_t value = 0;  ///< the thread, or how many values back
    bool of_a_load = false;

    friend bool operator==(const Directive&, const Directive&) = default;
};

struct Plan {
    Strategy strategy = Strategy::pct;
    std::uint8_t threads = 2;
    std::uint8_t depth = 1;  ///< of pct: how many constraints on the order a bug may need
    bool weak = false;       ///< loads may see old values, weak compare-exchanges fail
    std::uint32_t seed = 0;
    std::vector<Directive> directives;

    friend bool operator==(const Plan&, const Plan&) = default;
};

/// Small, quick and the same everywhere (G. Marsaglia, "Xorshift RNGs", 2003).
class Xorshift {
  public:
    explicit Xorshift(std::uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15u | 1) {
        for (int i = 0; i < 4; ++i) (*this)();
    }
    std::uint32_t operator()() {
        state_ ^= state_ << 13;
        state_ ^= state_ >> 7;
        state_ ^= state_ << 17;
        return static_cast<std::uint32_t>(state_ >> 32);
    }
    std::uint32_t below(std::uint32_t limit) { return limit == 0 ? 0 : (*this)() % limit; }

  private:
    std::uint64_t state_;
};

}  // namespace mpmm::fuzz
