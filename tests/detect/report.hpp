// SPDX-License-Identifier: Apache-2.0
// Takes the verify build's reports apart. What does not have the form of a report stays out of it, so that its absence fails the test.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mpmm::detect {

struct Frame {
    std::string function, place;  ///< the place is FILE:LINE or (MODULE+0xOFFSET)
};
using Stack = std::vector<Frame>;

bool shows(const Stack& stack, const std::string& function);

/// "0x... is located N bytes SIDE of SIZE-byte region [BEGIN,END)"
struct Location {
    std::uint64_t address, distance, size, begin, end;
    std::string side;
};

struct ThreadStack {
    unsigned thread;
    std::string name;
    Stack stack;
};

struct Leak {
    bool direct;
    std::uint64_t bytes, objects;
    Stack stack;
};

struct Report {
    unsigned long process;
    std::string kind;
    std::uint64_t address;
    unsigned thread;
    std::string explanation, summary;
    Stack current;
    std::optional<Location> location;
    std::optional<ThreadStack> freed, allocated;
    bool says_previously = false;  ///< "previously allocated by"
    std::vector<Leak> leaks;
};

/// The reports in a process's stderr, each from its ERROR line to the next.
std::vector<Report> parse_reports(const std::string& text);

}  // namespace mpmm::detect
