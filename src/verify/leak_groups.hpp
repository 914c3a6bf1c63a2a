// SPDX-License-Identifier: Apache-2.0
// Leaks by the stack that allocated them, in memory that the caller provides: it is filled while all other threads stand still.
#pragma once

#include "verify/error.hpp"

namespace mpmm::leak_groups {

class Table {
  public:
    static constexpr std::size_t capacity = 1 << 16, bytes = capacity * sizeof(report::Leak);

    explicit Table(void* zeroed) : groups_(static_cast<report::Leak*>(zeroed)) {}

    /// A leaked block. When there are too many groups, the last one takes the rest.
    void add(std::uint32_t stack, bool direct, std::size_t size, const void* block);
    /// Reports what the suppressions leave, the biggest first, direct before indirect. Returns the number of blocks.
    std::size_t report();

  private:
    void suppress();

    report::Leak* groups_;
    std::size_t count_ = 0;
};

}  // namespace mpmm::leak_groups
