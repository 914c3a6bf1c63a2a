// SPDX-License-Identifier: Apache-2.0
// Whatever a program does, the heap agrees with the model. Each run has a process of its own: a failure leaves nothing behind that would
// disturb the search for a smaller one, and every run sees the first steps of a fresh heap.
#include "programs.hpp"

#include "harness/isolated.hpp"
#include "harness/test_backend.hpp"

#include <algorithm>
#include <gtest/gtest.h>
#include <iostream>
#include <rapidcheck/gtest.h>
#include <sstream>

namespace mpmm::fuzz {
namespace {

RC_GTEST_PROP(HeapProperty, AgreesWithTheModel, (const Program& program)) {
    const auto failure = run_isolated(program);
    if (failure) RC_FAIL(failure->message);
}

/// The same with the numbers of backend calls that fail chosen close together: mostly at the first steps of the heap.
RC_GTEST_PROP(HeapProperty, SurvivesEveryRefusal, (Program program)) {
    program.flavour = *rc::gen::inRange<std::uint8_t>(0, 8);
    Operation fault;
    fault.kind = Kind::fault;
    fault.variant = *rc::gen::inRange<std::uint8_t>(0, TestBackend::call_count);
    fault.slot = *rc::gen::inRange<std::uint16_t>(0, 12);
    fault.size = *rc::gen::inRange<std::uint16_t>(1, 8);
    program.operations.insert(program.operations.begin(), fault);
    const auto failure = run_isolated(program);
    if (failure) RC_FAIL(failure->message);
}

RC_GTEST_PROP(Language, BytesAndProgramsRoundTrip, (const Program& program)) {
    const auto bytes = encode(program);
    RC_ASSERT(decode(bytes) == program);
    RC_ASSERT(encode(decode(bytes)) == bytes);
}

RC_GTEST_PROP(Language, EveryByteStringIsAProgram, (const std::vector<std::uint8_t>& bytes)) {
    const Program program = decode(bytes);
    RC_ASSERT(program.operations.size() == (bytes.empty() ? 0 : (bytes.size() - Program::header_size) / Operation::record_size));
    for (const Operation& operation : program.operations) {
        RC_ASSERT(operation.kind < Kind::count);
        RC_ASSERT(operation.thread < thread_count);
        RC_ASSERT(operation.variant < Operation::variant_count);
    }
    RC_ASSERT(decode(encode(program)) == program);
}

/// Whatever goes wrong with one kind of operation is told with nothing but that operation, and programs have every kind.
TEST(Language, ProgramsShrinkToOneOperationOfAnyKind) {
    std::ostringstream quiet;
    std::streambuf* const before = std::cerr.rdbuf(quiet.rdbuf());
    for (unsigned i = 0; i < static_cast<unsigned>(Kind::count); ++i) {
        const auto kind = static_cast<Kind>(i);
        Program smallest;
        const bool passed = rc::check("there is no such operation", [&](const Program& program) {
            const auto found = std::ranges::find(program.operations, kind, &Operation::kind);
            if (found == program.operations.end()) return;
            smallest = program;
            RC_FAIL("there is one");
        });
        EXPECT_FALSE(passed) << name(kind);
        EXPECT_EQ(smallest, (Program{.operations = {Operation{.kind = kind}}})) << describe(smallest);
    }
    std::cerr.rdbuf(before);
}

}  // namespace
}  // namespace mpmm::fuzz
