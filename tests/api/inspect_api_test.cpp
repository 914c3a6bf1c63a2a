// SPDX-License-Identifier: Apache-2.0
// Statistics add up, the walk lists exactly the live blocks, and every address is described as what it is.
#include "api/api_support.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#ifdef _WIN32
#include <io.h>
#else
#include <unistd.h>
#endif

namespace mpmm::test {
namespace {

using Inspect = ApiTest;
using Walked = std::map<void*, std::size_t>;

Walked walk() {
    Walked found;
    const auto add = [](void* block, std::size_t usable, void* context) {
        const bool fresh = static_cast<Walked*>(context)->emplace(block, usable).second;
        EXPECT_TRUE(fresh) << "listed twice";
        return 0;
    };
    EXPECT_EQ(mpmm_heap_walk(add, &found), 0);
    return found;
}

TEST_F(Inspect, EveryBlockIsCounted) {
    const mpmm_stats before = stats();
    std::vector<void*> blocks;
    std::size_t bytes = 0, large = 0;
    for (const std::size_t size : many_sizes()) {
        blocks.push_back(mpmm_malloc(size));
        const std::size_t usable = mpmm_usable_size(blocks.back());
        bytes += usable;
        if (usable > chunk() / 2) large += usable;
    }
    const mpmm_stats full = stats();
    EXPECT_EQ(full.used_blocks - before.used_blocks, blocks.size());
    EXPECT_EQ(full.used_bytes - before.used_bytes, bytes);
    EXPECT_EQ(full.large_bytes - before.large_bytes, large);
    EXPECT_GE(full.mapped_bytes, full.used_bytes + full.free_bytes + full.cached_bytes);
    EXPECT_GE(full.mapped_bytes, full.metadata_bytes);
    EXPECT_GE(full.peak_mapped, full.mapped_bytes);
    EXPECT_GT(full.block_allocators, 0u);
    EXPECT_EQ(full.thread_caches, 1u);
    for (void* const block : blocks) mpmm_free_unsized(block);
    const mpmm_stats after = stats();
    EXPECT_EQ(after.used_blocks, before.used_blocks);
    EXPECT_EQ(after.used_bytes, before.used_bytes);
    EXPECT_EQ(after.large_bytes, before.large_bytes);
    EXPECT_GE(after.cached_bytes, chunk()) << "large blocks that were freed";
    EXPECT_GE(after.peak_mapped, full.mapped_bytes);
    mpmm_trim(0);
    const mpmm_stats trimmed = stats();
    EXPECT_EQ(trimmed.cached_bytes, 0u);
    EXPECT_LT(trimmed.mapped_bytes, full.mapped_bytes / 4);
    EXPECT_EQ(trimmed.peak_mapped, after.peak_mapped);
}

TEST_F(Inspect, FreesOfOtherThreadsCountAsSoonAsTheyAreFlushed) {
    std::vector<void*> blocks(500);
    ASSERT_EQ(mpmm_malloc_batch(64, blocks.size(), blocks.data()), blocks.size());
    std::thread([&] {
        mpmm_free_batch(64, blocks.size(), blocks.data());
        EXPECT_EQ(stats().used_blocks, 0u) << "mpmm_get_stats() flushes its own thread's frees";
        EXPECT_EQ(stats().thread_caches, 2u);
    }).join();
    EXPECT_EQ(stats().thread_caches, 1u);
}

TEST_F(Inspect, StatsFillOnlyWhatTheCallerHas) {
    mpmm_stats part;
    std::memset(&part, 0x77, sizeof part);
    part.struct_size = 2 * sizeof(std::size_t);
    void* const block = mpmm_malloc(100);
    EXPECT_EQ(mpmm_get_stats(&part), 0);
    EXPECT_EQ(part.struct_size, 2 * sizeof(std::size_t));
    EXPECT_EQ(part.used_bytes, mpmm_round_size(100));
    std::size_t untouched = 0;
    std::memset(&untouched, 0x77, sizeof untouched);
    EXPECT_EQ(part.used_blocks, untouched);
    part.struct_size = sizeof(std::size_t) - 1;
    EXPECT_EQ(mpmm_get_stats(&part), EINVAL);
    EXPECT_EQ(part.used_bytes, mpmm_round_size(100));
    struct {
        mpmm_stats known;
        std::size_t later;
    } longer{};
    longer.known.struct_size = sizeof longer;
    longer.later = 5;
    EXPECT_EQ(mpmm_get_stats(&longer.known), 0) << "a caller from a later version";
    EXPECT_EQ(longer.known.used_blocks, 1u);
    EXPECT_EQ(longer.later, 5u);
    mpmm_free(block, 100);
}

TEST_F(Inspect, WalkListsExactlyTheLiveBlocks) {
    std::mt19937_64 random(7);
    const std::vector<std::size_t> sizes = many_sizes();
    Walked live;
    for (int step = 0; step < 6000; ++step) {
        if (live.size() < 50 || random() % 5 < 3) {
            const std::size_t size = sizes[random() % (step % 10 == 0 ? sizes.size() : 1100)];
            void* const block = mpmm_malloc(size);
            live.emplace(block, mpmm_usable_size(block));
        } else {
            const auto victim = std::next(live.begin(), static_cast<long>(random() % std::min<std::size_t>(live.size(), 40)));
            mpmm_free(victim->first, victim->second);
            live.erase(victim);
        }
        if (step % 1000 == 999) EXPECT_EQ(walk(), live);
    }
    // The same with half of them freed by another thread, and after it has ended.
    std::thread([&] {
        bool other = false;
        for (auto entry = live.begin(); entry != live.end();)
            if ((other = !other)) {
                mpmm_free(entry->first, entry->second);
                entry = live.erase(entry);
            } else {
                ++entry;
            }
    }).join();
    EXPECT_EQ(walk(), live);
    mpmm_purge();
    EXPECT_EQ(walk(), live);
    for (const auto& [block, usable] : live) mpmm_free(block, usable);
    EXPECT_TRUE(walk().empty());
}

TEST_F(Inspect, WalkStopsWhenToldTo) {
    std::vector<void*> blocks(100);
    mpmm_malloc_batch(40, 99, blocks.data());
    blocks[99] = mpmm_malloc(3 * chunk());
    for (int stop = 1; stop <= 100; stop += 33) {
        struct State {
            int left, calls;
        } state{stop, 0};
        const auto count = [](void*, std::size_t, void* context) {
            auto& s = *static_cast<State*>(context);
            ++s.calls;
            return --s.left == 0 ? 42 : 0;
        };
        EXPECT_EQ(mpmm_heap_walk(count, &state), 42);
        EXPECT_EQ(state.calls, stop);
    }
    for (void* const block : blocks) mpmm_free_unsized(block);
}

TEST_F(Inspect, AddressesAreDescribed) {
    static int global = 0;
    for (const std::size_t size : Sizes{8, 48, 3000, 50000, 3 * chunk(), 40 * chunk()}) {
        auto* const block = static_cast<char*>(mpmm_malloc(size));
        const std::size_t usable = mpmm_usable_size(block);
        for (const std::size_t offset : {std::size_t{0}, std::size_t{1}, size - 1, usable - 1}) {
            const mpmm_address_info info = mpmm_debugger_find(block + offset);
            EXPECT_EQ(info.kind, MPMM_ADDRESS_LIVE) << size << ' ' << offset;
            EXPECT_EQ(info.block, block);
            EXPECT_EQ(info.offset, offset);
            EXPECT_EQ(info.usable_size, usable);
        }
        mpmm_free(block, size);
        EXPECT_NE(mpmm_debugger_find(block).kind, MPMM_ADDRESS_LIVE) << size;
        if (usable <= chunk() / 2) {
            const mpmm_address_info freed = mpmm_debugger_find(block + 3);
            EXPECT_EQ(freed.kind, MPMM_ADDRESS_FREE) << size;
            EXPECT_EQ(freed.block, block);
            EXPECT_EQ(freed.offset, 3u);
        }
    }
    constexpr unsigned bits = sizeof(void*) == 8 ? 48 : 32;
    for (const std::uintptr_t address :
         {std::uintptr_t{0}, std::uintptr_t{1}, reinterpret_cast<std::uintptr_t>(&global), std::uintptr_t{1} << (bits - 1),
          (std::uintptr_t{2} << (bits - 1)) - 1, std::uintptr_t{2} << (bits - 1), UINTPTR_MAX / 2 + 1, UINTPTR_MAX}) {
        const mpmm_address_info info = mpmm_debugger_find(reinterpret_cast<void*>(address));
        EXPECT_EQ(info.kind, MPMM_ADDRESS_FOREIGN) << address;
        EXPECT_EQ(info.block, nullptr);
        EXPECT_EQ(info.usable_size, 0u);
    }
}

/// Every address of a chunk with tiny blocks, metadata among them, and of one with small blocks, tails among them.
TEST_F(Inspect, AWholeChunkIsDescribed) {
    for (const std::size_t size : Sizes{8ul, 80ul}) {
        std::vector<void*> blocks(2000);
        ASSERT_EQ(mpmm_malloc_batch(size, blocks.size(), blocks.data()), blocks.size());
        const std::uintptr_t start = reinterpret_cast<std::uintptr_t>(blocks[0]) / chunk() * chunk();
        std::map<void*, std::size_t> live_bytes;
        std::size_t unused = 0;
        for (std::uintptr_t address = start; address < start + chunk(); address += 8) {
            const mpmm_address_info info = mpmm_debugger_find(reinterpret_cast<void*>(address));
            ASSERT_NE(info.kind, MPMM_ADDRESS_FOREIGN);
            if (info.kind == MPMM_ADDRESS_LIVE) live_bytes[info.block] += 8;
            unused += info.kind == MPMM_ADDRESS_UNUSED;
        }
        EXPECT_GT(unused, 0u) << size;
        for (void* const block : blocks)
            if (reinterpret_cast<std::uintptr_t>(block) / chunk() * chunk() == start) EXPECT_EQ(live_bytes[block], size);
        mpmm_free_batch(size, blocks.size(), blocks.data());
    }
}

/// As mpmm_debugger_print_stats() wants it.
int descriptor(std::FILE* file) {
#ifdef _WIN32
    return static_cast<int>(::_get_osfhandle(::_fileno(file)));
#else
    return ::fileno(file);
#endif
}

TEST_F(Inspect, StatsPrintAsNamesAndValues) {
    void* const block = mpmm_malloc(1000);
    std::FILE* const file = std::tmpfile();
    ASSERT_NE(file, nullptr);
    mpmm_debugger_print_stats(descriptor(file));
    std::rewind(file);
    std::string text(4096, 0);
    text.resize(std::fread(text.data(), 1, text.size(), file));
    std::fclose(file);
    std::map<std::string, std::size_t> values;
    std::istringstream stream(text);
    std::string name;
    for (std::size_t value = 0; stream >> name >> value;) values[name] = value;
    const mpmm_stats now = stats();
    EXPECT_EQ(values.size(), sizeof(mpmm_stats) / sizeof(std::size_t) - 1) << text;
    EXPECT_EQ(values["used_bytes"], now.used_bytes);
    EXPECT_EQ(values["used_blocks"], 1u);
    EXPECT_EQ(values["mapped_bytes"], now.mapped_bytes);
    EXPECT_EQ(values["peak_mapped"], now.peak_mapped);
    EXPECT_EQ(values["free_bytes"], now.free_bytes);
    EXPECT_EQ(values["thread_caches"], 1u);
    mpmm_free(block, 1000);
}

}  // namespace
}  // namespace mpmm::test
