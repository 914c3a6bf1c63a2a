// SPDX-License-Identifier: Apache-2.0
// Programs of the fuzz harness as rapidcheck values: generated, shown, and shrunk by dropping operations and lowering their numbers.
#pragma once

#include "harness/operation.hpp"
#include "harness/print.hpp"
#include "harness/sizes.hpp"

#include <rapidcheck.h>

namespace rc {

template <>
struct Arbitrary<mpmm::fuzz::Operation> {
    static Gen<mpmm::fuzz::Operation> arbitrary() {
        using namespace mpmm::fuzz;
        const auto kind = gen::map(gen::inRange(0u, static_cast<unsigned>(Kind::count)), [](unsigned k) { return static_cast<Kind>(k); });
        // Half of the sizes from the small classes, all of them at a boundary or one beside it, or somewhere between.
        const auto index = gen::oneOf(gen::inRange(0u, 30u), gen::inRange(0u, 128u));
        const auto size = gen::map(gen::tuple(index, gen::inRange(0u, 4u), gen::inRange(0u, 128u)), [](const auto& parts) {
            const auto& [i, nudge, fine] = parts;
            return static_cast<std::uint16_t>(boundary(i) | nudge | fine << 9);
        });
        const auto small = gen::map(gen::inRange(0u, 32u), [](unsigned n) { return static_cast<std::uint16_t>(n); });
        return gen::build<Operation>(
            gen::set(&Operation::kind, kind), gen::set(&Operation::thread, gen::inRange<std::uint8_t>(0, thread_count)),
            gen::set(&Operation::variant, gen::inRange<std::uint8_t>(0, Operation::variant_count)), gen::set(&Operation::size, size),
            gen::set(&Operation::slot, gen::oneOf(small, gen::arbitrary<std::uint16_t>())));
    }
};

template <>
struct Arbitrary<mpmm::fuzz::Program> {
    static Gen<mpmm::fuzz::Program> arbitrary() {
        using namespace mpmm::fuzz;
        return gen::build<Program>(gen::set(&Program::flavour, gen::inRange<std::uint8_t>(0, 16)), gen::set(&Program::operations));
    }
};

}  // namespace rc

namespace mpmm::fuzz {

inline void showValue(const Program& program, std::ostream& out) { out << '\n' << describe(program); }

}  // namespace mpmm::fuzz
