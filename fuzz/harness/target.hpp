// SPDX-License-Identifier: Apache-2.0
// What a fuzz target shares with its drivers, libFuzzer and replay.cpp.
#pragma once

#include "harness/failure.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace mpmm::fuzz {

using Bytes = std::vector<std::uint8_t>;

/// An input as a header and items that can go one by one, in groups: the shrinker begins with the last group.
struct Pieces {
    Bytes header;
    std::vector<std::vector<Bytes>> groups;
};

/// How inputs of a target are cut, and what the pieces mean.
struct Shape {
    Pieces (*split)(const Bytes& input);
    Bytes (*join)(const Pieces& pieces);
    std::string (*describe_header)(const Bytes& header) = nullptr;
    std::string (*describe_item)(std::size_t group, const Bytes& item) = nullptr;
    /// The input that does what a report's last operations did; nothing when the text has none.
    std::optional<Bytes> (*from_report)(const std::string& text) = nullptr;
};
/// Each target defines it.
extern const Shape shape;

/// A header and items of fixed sizes; what is left over at the end belongs to no item and is dropped.
template <std::size_t Header, std::size_t Item>
Pieces split_records(const Bytes& input) {
    Pieces pieces{Bytes(Header), {{}}};
    auto from = input.begin();
    for (std::size_t i = 0; i < Header && from != input.end(); ++i) pieces.header[i] = *from++;
    for (; input.end() - from >= static_cast<std::ptrdiff_t>(Item); from += Item) pieces.groups[0].emplace_back(from, from + Item);
    return pieces;
}
Bytes join_pieces(const Pieces& pieces);

/// Where a target writes what it does before it does it; null: nowhere.
inline std::ostream* trace = nullptr;

/// Where a target that fails writes its input in another form that fails the same way and is easier to shrink; -1: nowhere.
inline int record_to = -1;

/// Calls the function when the allocator's own checks end the process with abort(), before the driver keeps the input. The first call counts.
void show_on_abort(void (*function)());

/// Runs one input. A failed check ends the process, as the drivers expect.
template <class Run>
int judge(Run run) {
    try {
        run();
    } catch (const Failure& failure) {
        std::cerr << "FAILED: " << failure.message << std::endl;
        std::abort();
    }
    return 0;
}

}  // namespace mpmm::fuzz
