// SPDX-License-Identifier: Apache-2.0
// A program of several threads and its schedule, as bytes:
//
//     | flavour | threads, strategy, weak | depth | directives, 2 bytes | seed, 4 bytes | directive, 4 bytes | … | record, 6 bytes | …
//
//     directive: | at, 3 bytes | thread or age, 7 bits; of a load, 1 bit |        record: see harness/operation.hpp
//
// Every byte string is one: what is missing is zero, numbers are taken modulo what there is.
#pragma once

#include "harness/mutator.hpp"
#include "harness/operation.hpp"
#include "harness/target.hpp"
#include "schedule/plan.hpp"

#include <string>

namespace mpmm::fuzz {

struct ScheduledProgram {
    Program program;
    Plan plan;

    static constexpr std::size_t header_size = 9, directive_size = 4;

    friend bool operator==(const ScheduledProgram&, const ScheduledProgram&) = default;
};

ScheduledProgram decode_scheduled(std::span<const std::uint8_t> bytes);
std::vector<std::uint8_t> encode(const ScheduledProgram& scheduled);

/// The groups are directives and operations.
Pieces split_scheduled(const Bytes& input);
Bytes join_scheduled(const Pieces& pieces);
std::string describe_directive(const Directive& directive);
/// Of split_scheduled()'s pieces.
std::string describe_scheduled_item(std::size_t group, const Bytes& item);
std::string describe_scheduled_header(const Bytes& header);

/// Changes operations, moves them between threads, or changes the schedule. Returns the new size.
std::size_t mutate_scheduled(std::uint8_t* data, std::size_t size, std::size_t most, Random& random);

/// A program of a few kinds of operations and two sizes: threads meet in few block allocators, and one is full soon (A. Groce et al., "Swarm
/// Testing", ISSTA 2012).
ScheduledProgram random_scheduled(Random& random);

/// The plan in words, and the operations of each thread.
std::string describe(const ScheduledProgram& scheduled);

}  // namespace mpmm::fuzz
