// SPDX-License-Identifier: Apache-2.0
// A process that uses up all its addresses: 4 GiB with 32-bit pointers, as many as a limit allows elsewhere. What it has stays whole, it is
// told, and once it frees something it can have memory again.
#include "mpmm/mpmm.h"
#include "support/child_check.hpp"

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

namespace mpmm::test {
namespace {

constexpr std::size_t gigabyte = std::size_t{1} << 30, most_blocks = 200'000;

struct Taken {
    unsigned char* block;
    std::size_t size;

    void write() const { block[0] = block[size / 2] = block[size - 1] = mark(); }
    bool is_whole() const { return block[0] == mark() && block[size / 2] == mark() && block[size - 1] == mark(); }
    unsigned char mark() const { return static_cast<unsigned char>(reinterpret_cast<std::uintptr_t>(block) >> 12 ^ size); }
};

void fill_up() {
    if (sizeof(void*) == 8) {
        // Verify has reserved some for guarded blocks.
        unsigned long pages = 0;
        std::FILE* const file = std::fopen("/proc/self/statm", "r");
        CHILD_CHECK(file != nullptr && std::fscanf(file, "%lu", &pages) == 1);
        std::fclose(file);
        const rlim_t most = pages * rlim_t(::sysconf(_SC_PAGESIZE)) + 3 * rlim_t{gigabyte};
        const rlimit limit{most, most};
        CHILD_CHECK(::setrlimit(RLIMIT_AS, &limit) == 0);
    }
    // Not the heap's, and there before it is full.
    auto* const taken = static_cast<Taken*>(
        ::mmap(nullptr, most_blocks * sizeof(Taken), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    CHILD_CHECK(taken != MAP_FAILED);
    std::size_t count = 0, bytes = 0;
    bool high = false;
    // A second time, so that what the first left unused is used up as well.
    for (int round = 0; round < 2; ++round)
        for (const std::size_t size :
             {std::size_t{5} << 20, std::size_t{1} << 20, std::size_t{40} << 10, std::size_t{1000}, std::size_t{48}}) {
            for (errno = 0; count < most_blocks; errno = 0) {
                auto* const block = static_cast<unsigned char*>(mpmm_malloc(size));
                if (block == nullptr) break;
                taken[count] = {block, size};
                taken[count++].write();
                bytes += size;
                high = high || (reinterpret_cast<std::uintptr_t>(block) >> 31) != 0;
            }
            CHILD_CHECK(count < most_blocks && errno == ENOMEM);
        }
    CHILD_CHECK(bytes > 2 * gigabyte && high);
    CHILD_CHECK(mpmm_zalloc(100 << 20) == nullptr && mpmm_aligned_alloc(1 << 20, 8 << 20) == nullptr);
    CHILD_CHECK(mpmm_realloc(taken[0].block, taken[0].size, 500 << 20) == nullptr && errno == ENOMEM);
    CHILD_CHECK(mpmm_verify_heap() == 0);
    std::size_t lost = 0;
    for (std::size_t i = 0; i < count; ++i) lost += taken[i].is_whole() ? 0 : 1;
    CHILD_CHECK(lost == 0);
    // Every other block makes room for as much again.
    std::size_t freed = 0, back = 0;
    for (std::size_t i = 0; i < count; i += 2, ++freed) mpmm_free(taken[i].block, taken[i].size);
    for (std::size_t i = 0; i < count; i += 2) {
        taken[i].block = static_cast<unsigned char*>(mpmm_malloc(taken[i].size));
        if (taken[i].block == nullptr) continue;
        taken[i].write();
        ++back;
    }
    CHILD_CHECK(back * 100 >= freed * 95);
    for (std::size_t i = 0; i < count; ++i) {
        if (taken[i].block == nullptr) continue;
        lost += taken[i].is_whole() ? 0 : 1;
        mpmm_free(taken[i].block, taken[i].size);
    }
    CHILD_CHECK(lost == 0);
    mpmm_trim(0);
    CHILD_CHECK(mpmm_verify_heap() == 0);
    // In verify, records of what was there lie in between.
    void* const large = mpmm_malloc(gigabyte / 2);
    CHILD_CHECK(large != nullptr);
    mpmm_free(large, gigabyte / 2);
    ::_exit(0);
}

TEST(Exhaustion, TheHeapOutlivesTheEndOfItsAddresses) { EXPECT_EXIT(fill_up(), ::testing::ExitedWithCode(0), ""); }

}  // namespace
}  // namespace mpmm::test
