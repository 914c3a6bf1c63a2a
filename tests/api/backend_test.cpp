// SPDX-License-Identifier: Apache-2.0
// The user's backend callbacks replace the system for every byte, metadata included; a refusal is NULL and ENOMEM and nothing else.
#include "api/arena_backend.hpp"

#include <cerrno>
#include <thread>
#include <vector>

namespace mpmm::test {
namespace {

using ::testing::ExitedWithCode;

std::size_t chunk() { return mpmm_backend_chunk_size(); }
mpmm_stats stats() {
    mpmm_stats result{};
    result.struct_size = sizeof result;
    CHILD_CHECK(mpmm_get_stats(&result) == 0);
    return result;
}

/// A bit of everything the allocator can be asked for; how much of it there was.
std::size_t fill(Blocks& blocks) {
    const std::size_t before = blocks.count();
    for (const std::size_t size : {8ul, 24ul, 100ul, 1000ul, 5000ul, 40000ul, 300000ul})
        for (int i = 0; i < 20; ++i) blocks.add(size);
    for (const std::size_t size : {chunk(), 3 * chunk(), 35 * chunk()}) blocks.add(size);
    blocks.add(100, 64 * 1024);
    blocks.add(100, 4 * chunk());
    return blocks.count() - before;
}
constexpr std::size_t whole_fill = 7 * 20 + 3 + 2;

TEST(UserBackend, GivesEveryByte) {
    EXPECT_EXIT(
        {
            static ArenaBackend backend;
            backend.start();
            Blocks blocks;
            CHILD_CHECK(fill(blocks) == whole_fill);
            std::thread([&] { CHILD_CHECK(fill(blocks) == whole_fill); }).join();
            CHILD_CHECK(in_arena(mpmm_persistent_alloc(100, 16)));
            CHILD_CHECK(in_arena(mpmm_backend_allocate(4096, 0)));
            // What the library counts is what it got: nothing came from elsewhere.
            CHILD_CHECK(stats().mapped_bytes == backend.held);
            mpmm_trim(0);
            CHILD_CHECK(stats().mapped_bytes == backend.held);
            finish_whole(blocks);
        },
        ExitedWithCode(0), "^$");
}

TEST(UserBackend, GetsItsMemoryBack) {
    EXPECT_EXIT(
        {
            static ArenaBackend backend;
            backend.start();
            Blocks blocks;
            fill(blocks);
            const std::size_t most = backend.held;
            blocks.free_all();
            CHILD_CHECK(mpmm_trim(0) == 1);
            CHILD_CHECK(stats().mapped_bytes == backend.held);
            CHILD_CHECK(backend.held < most / 10);
            CHILD_CHECK(backend.purges > 0);
            CHILD_CHECK(fill(blocks) == whole_fill);
            finish_whole(blocks);
        },
        ExitedWithCode(0), "^$");
}

/// Without MPMM_BACKEND_ZEROED nothing may count on zeroes, before and after a purge.
TEST(UserBackend, DirtyMemoryIsZeroedWhereZeroIsPromised) {
    EXPECT_EXIT(
        {
            static ArenaBackend backend;
            backend.start();
            for (int round = 0; round < 3; ++round) {
                for (const std::size_t size :
                     std::initializer_list<std::size_t>{8, 500, 5000, 40000, 300000, chunk(), 3 * chunk(), 33 * chunk()}) {
                    auto* const block = static_cast<unsigned char*>(mpmm_zalloc(size));
                    CHILD_CHECK(block != nullptr);
                    for (std::size_t i = 0; i < size; ++i) CHILD_CHECK(block[i] == 0);
                    std::memset(block, 0xff, size);
                    mpmm_free(block, size);
                }
                const auto* const lasting = static_cast<unsigned char*>(mpmm_persistent_alloc(10000, 64));
                for (std::size_t i = 0; i < 10000; ++i) CHILD_CHECK(lasting[i] == 0);
                mpmm_purge();
            }
            Blocks none;
            finish_whole(none);
        },
        ExitedWithCode(0), "^$");
}

/// The flags are believed: with both, the memory really is zero, and no byte of it is touched to make it so.
TEST(UserBackend, FlagsSaveTheZeroing) {
    EXPECT_EXIT(
        {
            static ArenaBackend backend;
            mpmm_backend callbacks = backend.callbacks();
            callbacks.flags = MPMM_BACKEND_ZEROED | MPMM_BACKEND_PURGE_ZEROES;
            callbacks.allocate = [](void* self, std::size_t size, std::size_t alignment) {
                void* const memory = static_cast<ArenaBackend*>(self)->allocate(size, alignment);
                if (memory != nullptr) std::memset(memory, 0, size < (1u << 20) ? size : 1u << 20);
                return memory;
            };
            ArenaBackend::start(callbacks);
            const auto* const block = static_cast<unsigned char*>(mpmm_zalloc(8 * chunk()));
            CHILD_CHECK(block != nullptr);
            unsigned char resident = 0;
            const std::uintptr_t middle = (reinterpret_cast<std::uintptr_t>(block) + 5 * chunk()) / 4096 * 4096;
            CHILD_CHECK(::mincore(reinterpret_cast<void*>(middle), 4096, &resident) == 0 && (resident & 1) == 0);
            for (std::size_t i = 0; i < 8 * chunk(); i += 509) CHILD_CHECK(block[i] == 0);
            child_done();
        },
        ExitedWithCode(0), "^$");
}

TEST(UserBackend, ResizeIsUsedWhereItWorks) {
    for (const bool works : {false, true})
        EXPECT_EXIT(
            {
                static ArenaBackend backend;
                backend.resize_works = works;
                backend.start();
                // The arena's last range can grow: whatever the allocator needs for itself comes before it.
                mpmm_free(mpmm_malloc(40 * chunk()), 40 * chunk());
                auto* block = static_cast<char*>(mpmm_malloc(40 * chunk()));
                CHILD_CHECK(block != nullptr && backend.resizes == 0);
                block[0] = 1;
                block[40 * chunk() - 1] = 2;
                auto* const grown = static_cast<char*>(mpmm_realloc(block, 40 * chunk(), 60 * chunk()));
                CHILD_CHECK(grown != nullptr && grown[0] == 1 && grown[40 * chunk() - 1] == 2);
                CHILD_CHECK(backend.resizes == 1);
                CHILD_CHECK((grown == block) == works);
                CHILD_CHECK(stats().mapped_bytes == backend.held);
                mpmm_free(grown, 60 * chunk());
                CHILD_CHECK(stats().mapped_bytes == backend.held);
                Blocks none;
                finish_whole(none);
            },
            ExitedWithCode(0), "^$");
}

TEST(UserBackend, OptionalCallbacksMayBeMissing) {
    EXPECT_EXIT(
        {
            static ArenaBackend backend;
            mpmm_backend callbacks = backend.callbacks();
            callbacks.purge = nullptr;
            callbacks.resize = nullptr;
            ArenaBackend::start(callbacks);
            Blocks blocks;
            CHILD_CHECK(fill(blocks) == whole_fill);
            blocks.free_all();
            CHILD_CHECK(mpmm_purge() == 0);
            void* block = mpmm_malloc(40 * chunk());
            CHILD_CHECK((block = mpmm_realloc(block, 40 * chunk(), 50 * chunk())) != nullptr);
            mpmm_free(block, 50 * chunk());
            CHILD_CHECK(stats().purged_bytes == 0);
            finish_whole(blocks);
        },
        ExitedWithCode(0), "^$");
}

/// One refusal, at each place where there can be one: whatever is asked for at that moment fails or finds another way, and the rest works.
TEST(UserBackend, TheNthCallRefuses) {
    for (std::size_t n = 0; n < 24; ++n)
        EXPECT_EXIT(
            {
                static ArenaBackend backend;
                backend.refuse_first = n;
                backend.refuse_count = 1;
                backend.start();
                Blocks blocks;
                const std::size_t got = fill(blocks);
                CHILD_CHECK(got + 1 >= whole_fill);
                CHILD_CHECK(mpmm_verify_heap() == 0);
                CHILD_CHECK(stats().used_blocks == got);
                CHILD_CHECK(stats().mapped_bytes == backend.held);
                blocks.free_all();
                CHILD_CHECK(fill(blocks) == whole_fill);
                finish_whole(blocks);
            },
            ExitedWithCode(0), "^$")
            << "call " << n;
}

/// Memory that runs out after n calls, and comes back later.
TEST(UserBackend, EveryCallFromTheNthOnRefuses) {
    for (std::size_t n = 0; n < 24; ++n)
        EXPECT_EXIT(
            {
                static ArenaBackend backend;
                backend.refuse_first = n;
                backend.refuse_count = SIZE_MAX;
                backend.start();
                Blocks blocks;
                const std::size_t got = fill(blocks);
                CHILD_CHECK(n > 10 || got < whole_fill);
                if (n == 0) CHILD_CHECK(got == 0 && mpmm_tcache_init() == ENOMEM);
                CHILD_CHECK(mpmm_verify_heap() == 0);
                std::thread([&] { fill(blocks); }).join();
                CHILD_CHECK(stats().used_blocks == blocks.count());
                CHILD_CHECK(stats().mapped_bytes == backend.held);
                backend.refuse_count = 0;
                CHILD_CHECK(fill(blocks) == whole_fill);
                finish_whole(blocks);
            },
            ExitedWithCode(0), "^$")
            << "call " << n;
}

TEST(UserBackend, BatchesStopWhereMemoryEnds) {
    EXPECT_EXIT(
        {
            static ArenaBackend backend;
            backend.start();
            static void* blocks[20000];
            CHILD_CHECK(mpmm_malloc_batch(1000, 10, blocks) == 10);
            backend.refuse_first = 0;
            backend.refuse_count = SIZE_MAX;
            errno = 0;
            const std::size_t got = mpmm_malloc_batch(1000, 20000, blocks + 10);
            CHILD_CHECK(got > 0 && got < 19990);
            CHILD_CHECK(errno == ENOMEM);
            mpmm_free_batch(1000, got + 10, blocks);
            Blocks none;
            finish_whole(none);
        },
        ExitedWithCode(0), "^$");
}

}  // namespace
}  // namespace mpmm::test
