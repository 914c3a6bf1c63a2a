// SPDX-License-Identifier: Apache-2.0
// Heaps of every page and line there is, with pointers of both widths, on one machine: the sizes follow their formulas, and threads that
// pass blocks of all sizes on find what they wrote.
//
// A geometry with 32-bit pointers on a 64-bit machine has its heap in a region below 4 GiB, from whose end chunks are taken: addresses with
// the highest of 32 bits set, and the very last chunk.
#include "backend/fixed_region.hpp"
#include "heap/heap.hpp"

#include <atomic>
#include <cstring>
#include <gtest/gtest.h>
#include <random>
#include <sys/mman.h>
#include <thread>
#include <vector>

namespace mpmm {
namespace {

/// Addresses that a 32-bit geometry's heap lives at.
class LowRegion {
  public:
    static constexpr std::uint64_t limit = std::uint64_t{1} << 32;

    ~LowRegion() {
        if (memory_ != nullptr) ::munmap(memory_, size_);
    }
    /// False where these addresses are taken, as by sanitizers.
    bool map() {
        constexpr std::uint64_t begin = std::uint64_t{1} << 30;
        size_ = static_cast<std::size_t>(limit - begin);
        void* const wanted = reinterpret_cast<void*>(static_cast<std::uintptr_t>(begin));
        void* const memory =
            ::mmap(wanted, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
        if (memory == MAP_FAILED) return false;
        memory_ = memory;
        return memory == wanted;
    }
    void* memory() const { return memory_; }
    std::size_t size() const { return size_; }

  private:
    void* memory_ = nullptr;
    std::size_t size_ = 0;
};

template <class C>
class GeometryTest : public ::testing::Test {
  protected:
    using H = Heap<C>;
    using G = typename C::Geometry;
    using Classes = typename H::Classes;
    /// On a 64-bit machine.
    static constexpr bool narrow = G::pointer < sizeof(void*);

    static void SetUpTestSuite() {
        if constexpr (narrow) {
            region_ = new LowRegion;
            mpmm_backend backend{};
            if (region_->map() && make_fixed_region(backend, region_->memory(), region_->size(), G::page, G::chunk)) {
                backend.flags = 0;
                H::shared.backend.use(backend);
                usable_ = true;
            }
        }
    }
    static void TearDownTestSuite() {
        if constexpr (narrow) {
            // The thread's cache lies in it: no heap of this type is used after this.
            H::release_cache();
            delete region_;
        }
    }
    void SetUp() override {
        if (!usable_) GTEST_SKIP() << "the addresses below 4 GiB are taken";
    }
    void TearDown() override {
        if (!usable_) return;
        H::purge();
        EXPECT_EQ(H::verify(), 0u);
        EXPECT_EQ(stats().used_blocks, 0u);
    }
    static mpmm_stats stats() {
        mpmm_stats result{};
        H::stats(result);
        return result;
    }
    static std::size_t random_size(std::mt19937_64& random) {
        switch (random() % 64) {
            case 0: return static_cast<std::size_t>(random() % (3 * G::chunk));
            case 1: return static_cast<std::size_t>(random() % (G::chunk / 2 + 1));
            case 2:
            case 3: return static_cast<std::size_t>(random() % (4 * G::page));
            default: return static_cast<std::size_t>(random() % (G::page / 8));
        }
    }

  private:
    static inline LowRegion* region_ = nullptr;
    static inline bool usable_ = !narrow;
};

template <std::size_t Page, std::size_t Line, std::size_t Pointer>
using Machine = Config<Geometry<Page, Line, Pointer>, NoVerify, 8>;
#define MPMM_LINES(page, pointer) Machine<page, 32, pointer>, Machine<page, 64, pointer>, Machine<page, 128, pointer>
#define MPMM_PAGES(pointer) MPMM_LINES(4096, pointer), MPMM_LINES(16384, pointer), MPMM_LINES(65536, pointer)
// A 32-bit machine has no addresses for the others.
#if UINTPTR_MAX > UINT32_MAX
using Machines = ::testing::Types<MPMM_PAGES(4), MPMM_PAGES(8)>;
#else
using Machines = ::testing::Types<MPMM_PAGES(4)>;
#endif
TYPED_TEST_SUITE(GeometryTest, Machines);

TYPED_TEST(GeometryTest, SizesFollowTheFormulas) {
    using G = typename TestFixture::G;
    using H = typename TestFixture::H;
    static_assert(G::chunk == G::page * G::line * 8);
    static_assert(G::map_bits == G::line * 8 && G::map_words * 64 == G::map_bits);
    static_assert(TestFixture::Classes::max_size * 2 == G::chunk);
    static_assert(alignof(typename H::Block) >= G::line);
    static_assert(std::is_same_v<TenantMap<G>, FlatMap<G, TenantEntries<G>>> == (G::pointer == 4));
    // The large threshold: half a chunk is a block allocator's, one byte more a run of chunks.
    void* const small = H::malloc(G::chunk / 2);
    EXPECT_EQ(TestFixture::stats().large_bytes, 0u);
    void* const large = H::malloc(G::chunk / 2 + 1);
    EXPECT_EQ(TestFixture::stats().large_bytes, G::chunk / 2 + G::page);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(large) % G::chunk, 0u);
    EXPECT_EQ(H::round_size(G::chunk / 2 + 1), G::chunk / 2 + G::page);
    if (TestFixture::narrow) {
        // Of a region the last chunks are taken first: among them the last of the address space, which ends with it.
        EXPECT_GE(reinterpret_cast<std::uintptr_t>(large) >> 31, 1u);
        EXPECT_NE(H::describe(reinterpret_cast<void*>(static_cast<std::uintptr_t>(LowRegion::limit - 1))).kind, MPMM_ADDRESS_FOREIGN);
    }
    H::free(small);
    H::free(large);
}

TYPED_TEST(GeometryTest, EveryClassHasItsBlocks) {
    using Classes = typename TestFixture::Classes;
    using G = typename TestFixture::G;
    using H = typename TestFixture::H;
    for (unsigned index = 0; index < Classes::count; ++index) {
        const std::size_t size = Classes::size_of(index);
        std::byte* const block = static_cast<std::byte*>(H::malloc(size));
        ASSERT_NE(block, nullptr) << size;
        EXPECT_EQ(H::usable_size(block), size);
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block) % (std::min(size & (~size + 1), G::page)), 0u) << size;
        block[0] = block[size - 1] = std::byte{1};
        const mpmm_address_info inside = H::describe(block + size - 1);
        EXPECT_EQ(inside.block, block);
        EXPECT_EQ(inside.kind, MPMM_ADDRESS_LIVE);
        H::free(block);
        EXPECT_NE(H::describe(block).kind, MPMM_ADDRESS_LIVE);
    }
}

TYPED_TEST(GeometryTest, AlignedBeyondChunks) {
    using G = typename TestFixture::G;
    using H = typename TestFixture::H;
    for (std::size_t alignment = 16; alignment <= 2 * G::chunk; alignment *= 4) {
        void* const block = H::aligned(alignment, 100, false);
        ASSERT_NE(block, nullptr) << alignment;
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block) % alignment, 0u);
        H::free(block);
    }
}

TYPED_TEST(GeometryTest, ThreadsPassBlocksOn) {
    using H = typename TestFixture::H;
    struct Header {
        std::size_t size, check;
    };
    constexpr int threads = 3, slots = 64;
    std::atomic<Header*> table[slots]{};
    std::atomic<int> wrong{0};
    const auto let_go = [&](Header* block) {
        if (block == nullptr) return;
        const auto* const last = reinterpret_cast<unsigned char*>(block) + block->size - 1;
        if (block->check != block->size * 31 || (block->size > sizeof(Header) && *last != (block->size & 0xFF))) ++wrong;
        H::free(block);
    };
    for (int round = 0; round < 2; ++round) {
        std::vector<std::thread> running;
        for (int t = 0; t < threads; ++t)
            running.emplace_back([&, t] {
                std::mt19937_64 random(static_cast<unsigned>(round * threads + t));
                for (int i = 0; i < 6000; ++i) {
                    const std::size_t size = std::max(sizeof(Header), TestFixture::random_size(random));
                    auto* const block = static_cast<Header*>(H::malloc(size));
                    if (block == nullptr) {
                        // With chunks of 64 MiB in 4 GiB of addresses there may be no more.
                        if (TypeParam::Geometry::pointer != 4 || TypeParam::Geometry::chunk < std::size_t{64} << 20) ++wrong;
                        continue;
                    }
                    reinterpret_cast<unsigned char*>(block)[size - 1] = static_cast<unsigned char>(size & 0xFF);
                    *block = {size, size * 31};
                    if (size == sizeof(Header)) block->check = size * 31;
                    let_go(table[random() % slots].exchange(block, std::memory_order_acq_rel));
                }
            });
        for (std::thread& thread : running) thread.join();
    }
    for (auto& slot : table) let_go(slot.exchange(nullptr));
    EXPECT_EQ(wrong.load(), 0);
    H::flush();
    EXPECT_LE(TestFixture::stats().thread_caches, 1u);
}

TYPED_TEST(GeometryTest, GivesBackWhatItDoesNotUse) {
    using G = typename TestFixture::G;
    using H = typename TestFixture::H;
    std::vector<void*> blocks;
    for (std::size_t bytes = 0; bytes < 4 * G::chunk; bytes += G::page / 2) {
        blocks.push_back(H::malloc(G::page / 2));
        ASSERT_NE(blocks.back(), nullptr);
    }
    const std::size_t peak = TestFixture::stats().mapped_bytes;
    for (void* const block : blocks) H::free(block);
    H::trim(0);
    EXPECT_LE(TestFixture::stats().mapped_bytes + 3 * G::chunk, peak);
}

}  // namespace
}  // namespace mpmm
