// SPDX-License-Identifier: Apache-2.0
// What of this process, and of a range, is in memory.
#pragma once

#include "mpmm/mpmm.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <gtest/gtest.h>
#include <vector>
#ifdef _WIN32
#include <windows.h>
// windows.h first
#include <psapi.h>
#else
#include <sys/mman.h>
#endif

namespace mpmm::test {

/// Bytes of this process in memory. Sanitizers have shadows that grow by themselves, and qemu keeps something of every thread; there only the
/// allocator's own count means something.
inline std::size_t resident() {
#if defined(MPMM_TEST_SANITIZED)
    return 0;
#elif defined(_WIN32)
    PROCESS_MEMORY_COUNTERS counters{};
    EXPECT_NE(::K32GetProcessMemoryInfo(::GetCurrentProcess(), &counters, sizeof counters), 0);
    return counters.WorkingSetSize;
#elif defined(MPMM_TEST_EMULATOR)
    return 0;
#else
    unsigned long total = 0, pages = 0;
    std::FILE* const file = std::fopen("/proc/self/statm", "r");
    EXPECT_NE(file, nullptr);
    EXPECT_EQ(std::fscanf(file, "%lu %lu", &total, &pages), 2);
    std::fclose(file);
    return pages * 4096;
#endif
}

/// How many of the pages are in memory.
inline std::size_t resident_pages(void* memory, std::size_t size) {
    const std::size_t page = mpmm_backend_page_size();
    const std::uintptr_t first = reinterpret_cast<std::uintptr_t>(memory) / page * page;
    const std::uintptr_t end = (reinterpret_cast<std::uintptr_t>(memory) + size + page - 1) / page * page;
#ifdef _WIN32
    std::vector<PSAPI_WORKING_SET_EX_INFORMATION> in((end - first) / page);
    for (std::size_t i = 0; i < in.size(); ++i) in[i].VirtualAddress = reinterpret_cast<void*>(first + i * page);
    EXPECT_NE(::K32QueryWorkingSetEx(::GetCurrentProcess(), in.data(), static_cast<DWORD>(in.size() * sizeof in[0])), 0);
    return static_cast<std::size_t>(std::count_if(in.begin(), in.end(), [](const auto& one) { return one.VirtualAttributes.Valid != 0; }));
#else
    std::vector<unsigned char> in((end - first) / page);
    EXPECT_EQ(::mincore(reinterpret_cast<void*>(first), end - first, in.data()), 0);
    return static_cast<std::size_t>(std::count_if(in.begin(), in.end(), [](unsigned char bits) { return (bits & 1) != 0; }));
#endif
}

}  // namespace mpmm::test
