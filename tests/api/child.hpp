// SPDX-License-Identifier: Apache-2.0
// For tests whose body runs in a forked child (EXPECT_EXIT): the allocator is fresh there, and what it does to the process ends with it.
//
// Also the arena: a range of memory that a backend under test hands out, so that one compare tells whether a block came from it.
#pragma once

#include "mpmm/mpmm.h"
#include "support/child_check.hpp"

#include <cstdio>
#include <cstdint>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

namespace mpmm::test {

[[noreturn]] inline void child_done() { ::_exit(0); }

inline constexpr std::size_t arena_size = std::size_t{512} << 20;

/// The arena's memory: mapped at the first call, aligned to 64 MiB, never given back.
inline char* arena_memory() {
    static char* const memory = [] {
        constexpr std::size_t alignment = std::size_t{64} << 20;
        void* const raw =
            ::mmap(nullptr, arena_size + alignment, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        CHILD_CHECK(raw != MAP_FAILED);
        return reinterpret_cast<char*>((reinterpret_cast<std::uintptr_t>(raw) + alignment - 1) / alignment * alignment);
    }();
    return memory;
}
inline bool in_arena(const void* address) {
    return static_cast<const char*>(address) >= arena_memory() && static_cast<const char*>(address) < arena_memory() + arena_size;
}

}  // namespace mpmm::test
