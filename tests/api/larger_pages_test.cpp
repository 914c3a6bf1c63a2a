// SPDX-License-Identifier: Apache-2.0
// The library on a system whose pages are larger than those it was built for. The kernel's calls are wrapped by functions that do as such a
// kernel does: mappings begin at whole pages, addresses inside of one are refused, and lengths are rounded up, so that a call for less than
// a page would take what lies behind it. MPMM_TEST_PAGE says how large pages are.
#include "mpmm/mpmm.h"

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <gtest/gtest.h>
#include <random>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

namespace {

std::size_t page_bytes() {
    static const std::size_t bytes = std::strtoul(std::getenv("MPMM_TEST_PAGE"), nullptr, 10);
    return bytes;
}
std::uintptr_t round_up(std::uintptr_t value) { return (value + page_bytes() - 1) & ~(page_bytes() - 1); }
bool is_whole(const void* address) { return reinterpret_cast<std::uintptr_t>(address) % page_bytes() == 0; }

std::size_t mapped = 0;
unsigned refused = 0;

int refuse() {
    ++refused;
    errno = EINVAL;
    return -1;
}

}  // namespace

extern "C" {

long __real_sysconf(int name);
void* __real_mmap(void* address, std::size_t size, int protection, int flags, int file, off_t offset);
int __real_munmap(void* address, std::size_t size);
int __real_madvise(void* address, std::size_t size, int advice);
int __real_mprotect(void* address, std::size_t size, int protection);
void* __real_mremap(void* from, std::size_t old_size, std::size_t new_size, int flags, ...);

long __wrap_sysconf(int name) { return name == _SC_PAGESIZE ? static_cast<long>(page_bytes()) : __real_sysconf(name); }

void* __wrap_mmap(void* hint, std::size_t size, int protection, int flags, int file, off_t offset) {
    size = round_up(size);
    void* memory = __real_mmap(hint, size, protection, flags, file, offset);
    if (memory == MAP_FAILED) return memory;
    if (!is_whole(memory)) {
        __real_munmap(memory, size);
        auto* const more = static_cast<char*>(__real_mmap(nullptr, size + page_bytes(), protection, flags, file, offset));
        if (more == MAP_FAILED) return more;
        auto* const whole = reinterpret_cast<char*>(round_up(reinterpret_cast<std::uintptr_t>(more)));
        if (whole != more) __real_munmap(more, static_cast<std::size_t>(whole - more));
        if (const auto behind = static_cast<std::size_t>(more + page_bytes() - whole); behind != 0) __real_munmap(whole + size, behind);
        memory = whole;
    }
    mapped += size;
    return memory;
}
int __wrap_munmap(void* address, std::size_t size) {
    if (!is_whole(address)) return refuse();
    mapped -= round_up(size);
    return __real_munmap(address, round_up(size));
}
int __wrap_madvise(void* address, std::size_t size, int advice) {
    return is_whole(address) ? __real_madvise(address, round_up(size), advice) : refuse();
}
int __wrap_mprotect(void* address, std::size_t size, int protection) {
    return is_whole(address) ? __real_mprotect(address, round_up(size), protection) : refuse();
}
void* __wrap_mremap(void* from, std::size_t old_size, std::size_t new_size, int flags, ...) {
    std::va_list more;
    va_start(more, flags);
    void* const to = (flags & MREMAP_FIXED) != 0 ? va_arg(more, void*) : nullptr;
    va_end(more);
    if (!is_whole(from) || !is_whole(to)) {
        refuse();
        return MAP_FAILED;
    }
    old_size = round_up(old_size);
    new_size = round_up(new_size);
    void* const memory =
        to != nullptr ? __real_mremap(from, old_size, new_size, flags, to) : __real_mremap(from, old_size, new_size, flags);
    // What a fixed mapping replaces was counted when it was made.
    if (memory != MAP_FAILED) mapped += to != nullptr ? -old_size : new_size - old_size;
    return memory;
}

}  // extern "C"

namespace {

/// A block whose beginning and end hold a value.
struct Held {
    static constexpr std::size_t most = 256 * 1024;
    unsigned char* block = nullptr;
    std::size_t size = 0;
    unsigned char value = 0;

    std::size_t shown() const { return std::min(size, most); }
    void fill() {
        ASSERT_NE(block, nullptr);
        std::memset(block, value, shown());
        std::memset(block + size - shown(), value, shown());
    }
    static bool holds(const unsigned char* from, std::size_t length, unsigned char byte) {
        return from[0] == byte && std::memcmp(from, from + 1, length - 1) == 0;
    }
    bool holds(unsigned char byte) const { return holds(block, shown(), byte) && holds(block + size - shown(), shown(), byte); }

    void get(std::size_t bytes, unsigned char with, bool zero) {
        size = bytes;
        value = with;
        block = static_cast<unsigned char*>(zero ? mpmm_zalloc(size) : mpmm_malloc(size));
        if (zero) EXPECT_TRUE(holds(0)) << size;
        fill();
    }
    void resize(std::size_t bytes) {
        const std::size_t kept = std::min(shown(), bytes);
        block = static_cast<unsigned char*>(mpmm_realloc(block, size, bytes));
        ASSERT_NE(block, nullptr);
        size = bytes;
        EXPECT_TRUE(holds(block, kept, value)) << bytes;
        fill();
    }
    void give() {
        if (block == nullptr) return;
        EXPECT_TRUE(holds(value)) << size;
        mpmm_free(block, size);
        block = nullptr;
    }
};

class LargerPages : public ::testing::Test {
  protected:
    ~LargerPages() override { EXPECT_EQ(refused, 0u); }
};

TEST_F(LargerPages, AreWhatTheBackendCountsIn) {
    EXPECT_EQ(mpmm_backend_page_size(), page_bytes());
    void* const memory = mpmm_backend_allocate(page_bytes() + 1, 0);
    ASSERT_NE(memory, nullptr);
    EXPECT_TRUE(is_whole(memory));
    EXPECT_EQ(mpmm_backend_purge(static_cast<char*>(memory) + page_bytes() / 2, page_bytes()), EINVAL);
    EXPECT_EQ(mpmm_backend_purge(memory, page_bytes()), 0);
    EXPECT_EQ(mpmm_backend_deallocate(memory, page_bytes() + 1), 0);
}

/// Blocks of all kinds come, change and go while unused memory is returned again and again: none may lose a byte of its content.
TEST_F(LargerPages, NoBlockLosesContent) {
    std::mt19937 random(1);
    std::vector<Held> table(300);
    for (int step = 0; step < 8000; ++step) {
        Held& held = table[random() % table.size()];
        const unsigned magnitude = 4 + random() % (step % 64 == 0 ? 23 : 15);
        const std::size_t size = (std::size_t{1} << magnitude) + random() % (std::size_t{1} << magnitude);
        if (held.block == nullptr) held.get(size, static_cast<unsigned char>(1 + random() % 255), random() % 2 != 0);
        else if (random() % 4 == 0) held.resize(size);
        else held.give();
        if (step % 100 == 0) mpmm_purge();
        if (HasFailure()) return;
    }
    for (Held& held : table) held.give();
}

/// Also of pages that are shared by what lies in them, and of large blocks that are no multiple of a page long, or moved.
TEST_F(LargerPages, NothingStaysMapped) {
    const auto churn = [] {
        for (const std::size_t size : {std::size_t{100} << 20, (std::size_t{70} << 20) + 4096, (std::size_t{3} << 20) + 12345}) {
            Held held;
            held.get(size, 7, false);
            held.resize(size + 5 * 4096);
            held.resize(size + (std::size_t{64} << 20));
            held.resize(size / 2 + 4097);
            void* const behind = mpmm_aligned_alloc(std::size_t{8} << 20, size);
            EXPECT_NE(behind, nullptr);
            held.give();
            mpmm_free(behind, size);
        }
        mpmm_purge();
        mpmm_trim(0);
    };
    churn();
    const std::size_t before = mapped;
    for (int round = 0; round < 10; ++round) churn();
    EXPECT_LE(mapped, before);
}

/// Of a heap of small blocks, runs of 256 KiB are freed: their pages go.
TEST_F(LargerPages, UnusedPagesGo) {
    constexpr std::size_t size = 256, count = (std::size_t{32} << 20) / size, run = (std::size_t{256} << 10) / size;
    std::vector<void*> blocks(count);
    for (void*& block : blocks) block = std::memset(mpmm_malloc(size), 1, size);
    mpmm_purge();
    for (std::size_t i = 0; i < count; ++i)
        if (i / run % 4 != 0) mpmm_free(blocks[i], size);
    EXPECT_GE(mpmm_purge(), count * size / 2);
    for (std::size_t i = 0; i < count; ++i)
        if (i / run % 4 == 0) mpmm_free(blocks[i], size);
}

}  // namespace
