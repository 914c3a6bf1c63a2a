// SPDX-License-Identifier: Apache-2.0
// The clean programs' cases: a name and a function that returns when all went as it should, and ends the process otherwise.
#pragma once

#include <cstddef>
#include <cstdlib>

namespace mpmm::detect {

struct CleanCase {
    const char* name;
    void (*run)();
};
struct CleanCases {
    const CleanCase* first;
    std::size_t count;
};

CleanCases clean_memory_cases();
CleanCases clean_thread_cases();
CleanCases clean_process_cases();
CleanCases clean_reachable_cases();
CleanCases clean_hostile_cases();

/// Says "done" as every case that ends well.
void say_done();
/// Ends the program with a line on stderr unless the condition holds.
void must(bool condition, const char* what);

/// Memory that is filled, and checked before it is freed.
inline char* filled(void* block, std::size_t size, char value) {
    char* const bytes = static_cast<char*>(block);
    must(bytes != nullptr, "memory");
    for (std::size_t i = 0; i < size; i += i + 64 < size ? 64 : 1) bytes[i] = value;
    __asm__ volatile("" : : "r"(bytes) : "memory");
    return bytes;
}

}  // namespace mpmm::detect
