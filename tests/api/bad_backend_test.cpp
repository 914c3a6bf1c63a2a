// SPDX-License-Identifier: Apache-2.0
// Backends that break the contract: what they return is refused and named on stderr, the request fails with ENOMEM, and the heap is whole.
#include "api/arena_backend.hpp"

#include <cerrno>

namespace mpmm::test {
namespace {

using ::testing::ExitedWithCode;

constexpr const char* misaligned_line = "ERROR: mpmm: backend returned misaligned or impossible memory";
constexpr const char* overlap_line = "ERROR: mpmm: backend returned memory that is already in use";

std::size_t chunk() { return mpmm_backend_chunk_size(); }
std::size_t mapped() {
    mpmm_stats stats{};
    stats.struct_size = sizeof stats;
    CHILD_CHECK(mpmm_get_stats(&stats) == 0);
    return stats.mapped_bytes;
}

void* refused(void* block) {
    CHILD_CHECK(block == nullptr);
    CHILD_CHECK(errno == ENOMEM);
    errno = 0;
    return block;
}

/// Breaks the contract by `twist` after the heap is in use, tries every kind of request, heals it, and expects all to work.
[[noreturn]] void misbehave(decltype(ArenaBackend::twist) twist) {
    static ArenaBackend backend;
    backend.start();
    Blocks blocks;
    for (const std::size_t size : {8ul, 100ul, 5000ul, 50000ul}) CHILD_CHECK(blocks.add(size));
    CHILD_CHECK(blocks.add(5 * chunk()));
    CHILD_CHECK(blocks.add(40 * chunk()));
    const std::size_t before = mapped();
    CHILD_CHECK(before == backend.held);
    backend.twist = twist;
    errno = 0;
    refused(mpmm_malloc(3 * chunk()));
    refused(mpmm_malloc(40 * chunk()));
    refused(mpmm_malloc(1024 * 1024));
    refused(mpmm_aligned_alloc(4 * chunk(), 10));
    CHILD_CHECK(mapped() == before);
    CHILD_CHECK(mpmm_verify_heap() == 0);
    backend.twist = nullptr;
    for (const std::size_t size : std::initializer_list<std::size_t>{1024 * 1024, 3 * chunk(), 50 * chunk()}) CHILD_CHECK(blocks.add(size));
    finish_whole(blocks);
}

TEST(BadBackend, MemoryAlignedToPagesOnly) {
    EXPECT_EXIT(misbehave([](ArenaBackend&, void* memory, std::size_t, std::size_t alignment) -> void* {
                    return alignment > mpmm_backend_page_size() ? static_cast<char*>(memory) + mpmm_backend_page_size() : memory;
                }),
                ExitedWithCode(0), misaligned_line);
}

TEST(BadBackend, MemoryAlignedToNothing) {
    EXPECT_EXIT(misbehave([](ArenaBackend&, void* memory, std::size_t, std::size_t) -> void* { return static_cast<char*>(memory) + 1; }),
                ExitedWithCode(0), misaligned_line);
}

TEST(BadBackend, MemoryBeyondTheAddressSpace) {
    EXPECT_EXIT(misbehave([](ArenaBackend&, void*, std::size_t, std::size_t alignment) -> void* {
                    return reinterpret_cast<void*>(std::uintptr_t{0} - alignment);
                }),
                ExitedWithCode(0), "ERROR: mpmm: backend returned ");
}

/// Addresses that fit the pointer but no process: the chunk map does not reach there.
TEST(BadBackend, MemoryAtImpossibleAddressesForRecords) {
    EXPECT_EXIT(
        {
            static ArenaBackend backend;
            backend.start();
            Blocks blocks;
            CHILD_CHECK(blocks.add(100));
            backend.twist = [](ArenaBackend&, void*, std::size_t, std::size_t alignment) -> void* {
                return reinterpret_cast<void*>(std::uintptr_t{0} - 4 * alignment);
            };
            errno = 0;
            refused(mpmm_backend_allocate(mpmm_backend_page_size(), 0));
            refused(mpmm_persistent_alloc(2 * chunk(), 16));
            backend.twist = nullptr;
            CHILD_CHECK(mpmm_persistent_alloc(2 * chunk(), 16) != nullptr);
            finish_whole(blocks);
        },
        ExitedWithCode(0), misaligned_line);
}

TEST(BadBackend, MemoryAtImpossibleAddresses) {
    EXPECT_EXIT(misbehave([](ArenaBackend&, void* memory, std::size_t, std::size_t alignment) -> void* {
                    return alignment > mpmm_backend_page_size()
                               ? reinterpret_cast<void*>(~std::uintptr_t{0} / 16 * 15 / chunk() * chunk() + 64)
                               : memory;
                }),
                ExitedWithCode(0), misaligned_line);
}

/// Where memory in use begins; found by the tests below among what the backend handed out.
char* first_chunk_in_use = nullptr;
/// The chunk that a block begins in: in verify it does not begin where the memory does.
char* chunk_of(const void* block) { return reinterpret_cast<char*>(reinterpret_cast<std::uintptr_t>(block) / chunk() * chunk()); }

[[noreturn]] void overlap(std::size_t offset) {
    static ArenaBackend backend;
    static std::size_t shift;
    shift = offset;
    backend.start();
    Blocks blocks;
    CHILD_CHECK(blocks.add(100));
    auto* const large = static_cast<char*>(mpmm_malloc(20 * chunk()));
    CHILD_CHECK(large != nullptr);
    std::memset(large, 0x11, 20 * chunk());
    first_chunk_in_use = chunk_of(large);
    const std::size_t before = mapped();
    backend.twist = [](ArenaBackend&, void* memory, std::size_t, std::size_t alignment) -> void* {
        const std::uintptr_t place = reinterpret_cast<std::uintptr_t>(first_chunk_in_use) + shift;
        return alignment > mpmm_backend_page_size() ? reinterpret_cast<void*>(place) : memory;
    };
    errno = 0;
    refused(mpmm_malloc(3 * chunk()));
    refused(mpmm_malloc(40 * chunk()));
    refused(mpmm_malloc(1024 * 1024));
    CHILD_CHECK(mapped() == before);
    backend.twist = nullptr;
    CHILD_CHECK(blocks.add(3 * chunk()));
    CHILD_CHECK(blocks.add(1024 * 1024));
    for (std::size_t i = 0; i < 20 * chunk(); i += 1021) CHILD_CHECK(large[i] == 0x11);
    mpmm_free(large, 20 * chunk());
    finish_whole(blocks);
}

TEST(BadBackend, MemoryInUseFromItsStart) { EXPECT_EXIT(overlap(0), ExitedWithCode(0), overlap_line); }
TEST(BadBackend, MemoryInsideALargeBlock) { EXPECT_EXIT(overlap(7 * chunk()), ExitedWithCode(0), overlap_line); }
TEST(BadBackend, MemoryThatRunsIntoALargeBlock) { EXPECT_EXIT(overlap(std::size_t{0} - chunk()), ExitedWithCode(0), overlap_line); }

/// A free run is the allocator's as well.
TEST(BadBackend, MemoryInsideAFreeRun) {
    EXPECT_EXIT(
        {
            static ArenaBackend backend;
            backend.start();
            Blocks blocks;
            auto* const large = static_cast<char*>(mpmm_malloc(9 * chunk()));
            first_chunk_in_use = chunk_of(large);
            mpmm_free(large, 9 * chunk());
            backend.deallocate_refuses = true;  // so that the run stays ours while the allocator looks for memory
            backend.twist = [](ArenaBackend&, void* memory, std::size_t, std::size_t alignment) -> void* {
                return alignment > mpmm_backend_page_size() ? first_chunk_in_use + 4 * mpmm_backend_chunk_size() : memory;
            };
            errno = 0;
            refused(mpmm_malloc(10 * chunk()));
            CHILD_CHECK(mpmm_verify_heap() == 0);
            CHILD_CHECK(blocks.add(9 * chunk()));
            backend.twist = nullptr;
            CHILD_CHECK(blocks.add(10 * chunk()));
            finish_whole(blocks);
        },
        ExitedWithCode(0), overlap_line);
}

/// The allocator's own records came from the backend first; blocks must not be laid over them.
TEST(BadBackend, MemoryWithTheAllocatorsMetadata) {
    EXPECT_EXIT(
        {
            static ArenaBackend backend;
            backend.start();
            Blocks blocks;
            CHILD_CHECK(blocks.add(100));
            first_chunk_in_use = chunk_of(mpmm_persistent_alloc(16, 16));
            backend.twist = [](ArenaBackend&, void* memory, std::size_t, std::size_t alignment) -> void* {
                return alignment > mpmm_backend_page_size() ? first_chunk_in_use : memory;
            };
            errno = 0;
            refused(mpmm_malloc(1024 * 1024));
            refused(mpmm_malloc(3 * chunk()));
            backend.twist = nullptr;
            CHILD_CHECK(blocks.add(1024 * 1024));
            finish_whole(blocks);
        },
        ExitedWithCode(0), overlap_line);
}

TEST(BadBackend, PurgeFails) {
    EXPECT_EXIT(
        {
            static ArenaBackend backend;
            backend.purge_fails = true;
            backend.start();
            Blocks blocks;
            for (int i = 0; i < 500; ++i) CHILD_CHECK(blocks.add(4096) && blocks.add(100) && blocks.add(50000));
            CHILD_CHECK(blocks.add(5 * chunk()));
            blocks.free_all();
            CHILD_CHECK(mpmm_purge() == 0);
            CHILD_CHECK(backend.purges > 0);
            CHILD_CHECK(mpmm_verify_heap() == 0);
            // What could not be purged is not zero.
            auto* const zeroed = static_cast<unsigned char*>(mpmm_zalloc(5 * chunk()));
            CHILD_CHECK(zeroed != nullptr);
            for (std::size_t i = 0; i < 5 * chunk(); ++i) CHILD_CHECK(zeroed[i] == 0);
            mpmm_free(zeroed, 5 * chunk());
            finish_whole(blocks);
        },
        ExitedWithCode(0), "^$");
}

TEST(BadBackend, DeallocateRefuses) {
    EXPECT_EXIT(
        {
            static ArenaBackend backend;
            backend.deallocate_refuses = true;
            backend.start();
            Blocks blocks;
            for (int round = 0; round < 5; ++round) {
                for (int i = 0; i < 100; ++i) CHILD_CHECK(blocks.add(100) && blocks.add(60000));
                for (const std::size_t chunks : {1u, 3u, 9u}) CHILD_CHECK(blocks.add(chunks * chunk()));
                blocks.free_all();
                mpmm_trim(0);
                CHILD_CHECK(mapped() == backend.held);
                CHILD_CHECK(mpmm_verify_heap() == 0);
            }
            // What the backend does not take is used again instead of asking for more.
            CHILD_CHECK(backend.held < 40 * chunk());
            finish_whole(blocks);
        },
        ExitedWithCode(0), "^$");
}

/// Huge blocks go straight back; one that is refused must not be lost for ever, or every use of such a block takes more. What sticks out of
/// its last whole chunk is lost: with verify's redzones the block still ends before one.
TEST(BadBackend, DeallocateRefusesHugeBlocks) {
    EXPECT_EXIT(
        {
            static ArenaBackend backend;
            backend.deallocate_refuses = true;
            backend.start();
            Blocks blocks;
            for (int round = 0; round < 20; ++round) {
                CHILD_CHECK(blocks.add(40 * chunk() - 32));
                blocks.free_all();
                CHILD_CHECK(mapped() == backend.held);
            }
            finish_whole(blocks);
        },
        ExitedWithCode(0), "^$");
}

}  // namespace
}  // namespace mpmm::test
