// SPDX-License-Identifier: Apache-2.0
// The last operations on the heap, kept for the report: trace_ops=N. A ring that threads write to without waiting for each other; what a
// report prints of a moment in which others run is as good as such a moment allows.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mpmm::report {
class Writer;
}

namespace mpmm::trace {

enum class Operation : std::uint8_t { allocate, free, realloc };

/// Whether operations are recorded at all.
bool on();
/// Remembers an operation of the calling thread. `old` is the block a realloc took.
void add(Operation operation, std::uint64_t sequence, const void* block, std::size_t size, const void* old = nullptr);
/// Writes what is remembered, oldest first, one operation a line.
void write(report::Writer& out);

}  // namespace mpmm::trace
