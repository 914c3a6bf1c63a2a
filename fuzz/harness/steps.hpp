// SPDX-License-Identifier: Apache-2.0
// The operations of a target for a single layer: four bytes each, so that mutations stay local and every byte string is a program.
#pragma once

#include "harness/target.hpp"

#include <cstdint>
#include <span>

namespace mpmm::fuzz {

inline constexpr std::size_t step_size = 4;

/// What an operation gets: three numbers that mean what it takes them for.
struct Step {
    unsigned a, b, c;
};

template <class Run>
struct StepKind {
    const char* name;
    void (Run::*call)(const Step&);
};

/// Does what the bytes say, one operation after another; `run.check()` after each.
template <class Run, std::size_t Count>
void run_steps(Run& run, const StepKind<Run> (&operations)[Count], std::span<const std::uint8_t> bytes) {
    for (; bytes.size() >= step_size; bytes = bytes.subspan(step_size)) {
        const auto& [name, call] = operations[bytes[0] % Count];
        const Step step{bytes[1], bytes[2], bytes[3]};
        if (trace != nullptr) *trace << name << ' ' << step.a << ' ' << step.b << ' ' << step.c << std::endl;
        (run.*call)(step);
        run.check();
    }
}

/// Calls run<T>() for one of the types.
template <class... Types, class Run>
void with_one_of(unsigned which, Run run) {
    unsigned i = 0;
    ((i++ == which % sizeof...(Types) ? run.template operator()<Types>() : void()), ...);
}

}  // namespace mpmm::fuzz
