// SPDX-License-Identifier: Apache-2.0
// The whole allocator inside one region: blocks and metadata, for one thread and for several, until it is full and after.
#include "api/arena_backend.hpp"

#include <cerrno>
#include <fcntl.h>
#include <thread>

namespace mpmm::test {
namespace {

using ::testing::ExitedWithCode;

std::size_t chunk() { return mpmm_backend_chunk_size(); }

constexpr std::size_t region_size = std::size_t{100} << 20;

/// Starts the allocator in a region with guards around it that nobody may write, and at an odd address.
char* start_in_region() {
    char* const region = arena_memory() + 4096 + 24;
    std::memset(arena_memory(), 0x77, 4096 + 24);
    std::memset(region + region_size, 0x77, 4096);
    mpmm_backend backend{};
    CHILD_CHECK(mpmm_backend_fixed_region(&backend, region, region_size) == 0);
    ArenaBackend::start(backend);
    return region;
}
void check_guards(const char* region) {
    for (const char* at = arena_memory(); at < region; ++at) CHILD_CHECK(*at == 0x77);
    for (const char* at = region + region_size; at < region + region_size + 4096; ++at) CHILD_CHECK(*at == 0x77);
}
bool inside(const char* region, const void* block, std::size_t size) {
    return static_cast<const char*>(block) >= region && static_cast<const char*>(block) + size <= region + region_size;
}

/// This process's mappings as text, without allocating.
std::size_t read_maps(char* text, std::size_t room) {
    const int file = ::open("/proc/self/maps", O_RDONLY);
    CHILD_CHECK(file >= 0);
    std::size_t size = 0;
    for (ssize_t got = 0; (got = ::read(file, text + size, room - size)) > 0;) size += static_cast<std::size_t>(got);
    ::close(file);
    return size;
}

[[noreturn]] void use_region_only() {
    const char* const region = start_in_region();
    static char before[1 << 20], after[1 << 20];
    const std::size_t before_size = read_maps(before, sizeof before);
    Blocks blocks;
    for (const std::size_t size : std::initializer_list<std::size_t>{8, 24, 100, 1000, 5000, 40000, 300000, chunk(), 5 * chunk()})
        for (int i = 0; i < 3; ++i) CHILD_CHECK(blocks.add(size));
    void* const more[] = {mpmm_persistent_alloc(100000, 4096), mpmm_backend_allocate(8192, 0), mpmm_lcache_malloc(chunk())};
    for (void* const block : more) CHILD_CHECK(inside(region, block, 8192));
    const std::size_t after_size = read_maps(after, sizeof after);
    CHILD_CHECK(before_size != 0 && after_size != 0);
    // Nothing was mapped meanwhile: blocks and metadata are where the program said. Sanitizers map for themselves.
#ifndef MPMM_TEST_SANITIZED
    CHILD_CHECK(before_size == after_size && std::memcmp(before, after, before_size) == 0);
#endif
    mpmm_stats stats{};
    stats.struct_size = sizeof stats;
    CHILD_CHECK(mpmm_get_stats(&stats) == 0 && stats.mapped_bytes <= region_size);
    CHILD_CHECK(mpmm_backend_deallocate(more[1], 8192) == 0);
    mpmm_lcache_free(more[2], chunk());
    check_guards(region);
    finish_whole(blocks);
}

TEST(FixedRegion, HoldsEverythingTheAllocatorUses) { EXPECT_EXIT(use_region_only(), ExitedWithCode(0), "^$"); }

TEST(FixedRegion, IsUsedToItsEndAndWorksAfterwards) {
    EXPECT_EXIT(
        {
            const char* const region = start_in_region();
            Blocks blocks;
            std::size_t first_round = 0;
            for (int round = 0; round < 4; ++round) {
                std::size_t bytes = 0;
                while (blocks.add(60000)) bytes += 60000;
                // A chunk at each end and a few pages inside are lost to alignment and metadata.
                CHILD_CHECK(bytes >= region_size * 8 / 10);
                while (blocks.add(100)) bytes += 100;
                if (round == 0) first_round = bytes;
                CHILD_CHECK(bytes + 2 * chunk() >= first_round);
                CHILD_CHECK(mpmm_verify_heap() == 0);
                check_guards(region);
                if (round < 3) blocks.free_all();
            }
            blocks.free_all();
            mpmm_trim(0);
            // Empty again, the region has one run for a block of most of it.
            CHILD_CHECK(blocks.add(region_size * 8 / 10));
            finish_whole(blocks);
        },
        ExitedWithCode(0), "^$");
}

TEST(FixedRegion, ServesThreads) {
    EXPECT_EXIT(
        {
            const char* const region = start_in_region();
            std::thread threads[4];
            for (std::size_t t = 0; t < 4; ++t)
                threads[t] = std::thread([region, t] {
                    void* held[64] = {};
                    for (std::size_t i = 0; i < 20000; ++i) {
                        void*& slot = held[i * 7 % 64];
                        mpmm_free_unsized(slot);
                        const std::size_t size = i % 100 == 0 ? 100000 + t : i % 900;
                        slot = mpmm_malloc(size);
                        CHILD_CHECK(slot != nullptr && inside(region, slot, size));
                        std::memset(slot, static_cast<int>(t), size);
                    }
                    for (void* const block : held) mpmm_free_unsized(block);
                });
            for (std::thread& thread : threads) thread.join();
            check_guards(region);
            Blocks none;
            finish_whole(none);
        },
        ExitedWithCode(0), "^$");
}

/// By the backend's own functions, as another allocator would call them.
TEST(FixedRegion, GivesNothingForNoBytesAndForTooMany) {
    EXPECT_EXIT(
        {
            mpmm_backend backend{};
            CHILD_CHECK(mpmm_backend_fixed_region(&backend, arena_memory(), region_size) == 0);
            const std::size_t page = mpmm_backend_page_size();
            CHILD_CHECK(backend.allocate(backend.context, page, page) != nullptr);
            CHILD_CHECK(backend.allocate(backend.context, 0, page) == nullptr);
            CHILD_CHECK(backend.allocate(backend.context, region_size + page, page) == nullptr);
            child_done();
        },
        ExitedWithCode(0), "^$");
}

/// The smallest region the header accepts is one in which a block can be had.
TEST(FixedRegion, TheSmallestOneGivesABlock) {
    EXPECT_EXIT(
        {
            mpmm_backend backend{};
            std::size_t size = 4096;
            while (size < region_size && mpmm_backend_fixed_region(&backend, arena_memory(), size) != 0) size += 4096;
            CHILD_CHECK(size < 3 * chunk());
            ArenaBackend::start(backend);
            errno = 0;
            void* const large = mpmm_malloc(4 * chunk());
            CHILD_CHECK(large == nullptr && errno == ENOMEM);
            // Too little for the metadata too, perhaps: then every request fails, and nothing else happens.
            for (int i = 0; i < 100; ++i) mpmm_free(mpmm_malloc(100), 100);
            Blocks none;
            finish_whole(none);
        },
        ExitedWithCode(0), "^$");
}

}  // namespace
}  // namespace mpmm::test
