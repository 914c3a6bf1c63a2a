// SPDX-License-Identifier: Apache-2.0
// Arguments that make no sense: NULL, EINVAL or ENOMEM as the header says, and a heap that stays whole.
#include "api/api_support.hpp"

#include <cerrno>
#include <string>

namespace mpmm::test {
namespace {

using BadArguments = ApiTest;

TEST_F(BadArguments, ImpossibleSizesAreOutOfMemory) {
    for (const std::size_t size : impossible_sizes) {
        const auto refused = [&](void* block) {
            EXPECT_EQ(block, nullptr) << size;
            EXPECT_EQ(errno, ENOMEM) << size;
            errno = 0;
        };
        errno = 0;
        refused(mpmm_malloc(size));
        refused(mpmm_zalloc(size));
        refused(mpmm_aligned_alloc(64, size));
        refused(mpmm_aligned_alloc(4 * chunk(), size));
        refused(mpmm_aligned_zalloc(4096, size));
        refused(mpmm_realloc(nullptr, 0, size));
        refused(mpmm_tcache_malloc(size));
        refused(mpmm_lcache_malloc(size));
        // With 32-bit pointers the system has that much.
        if (sizeof(void*) == 8 || size >= PTRDIFF_MAX) refused(mpmm_backend_allocate(size, 0));
        refused(mpmm_persistent_alloc(size, 16));
        void* blocks[3] = {};
        EXPECT_EQ(mpmm_malloc_batch(size, 3, blocks), 0u);
        refused(blocks[0]);
    }
    EXPECT_EQ(mpmm_round_size(std::size_t{PTRDIFF_MAX} + 1), 0u);
    EXPECT_EQ(mpmm_round_size(SIZE_MAX), 0u);
    EXPECT_EQ(mpmm_good_alignment(SIZE_MAX), 0u);
}

TEST_F(BadArguments, AlignmentsArePowersOfTwo) {
    for (const std::size_t alignment : Sizes{0, 3, 24, 4095, SIZE_MAX}) {
        errno = 0;
        EXPECT_EQ(mpmm_aligned_alloc(alignment, 100), nullptr) << alignment;
        EXPECT_EQ(errno, EINVAL) << alignment;
        errno = 0;
        EXPECT_EQ(mpmm_aligned_zalloc(alignment, 100), nullptr) << alignment;
        EXPECT_EQ(errno, EINVAL) << alignment;
        errno = 0;
        EXPECT_EQ(mpmm_persistent_alloc(100, alignment), nullptr) << alignment;
        EXPECT_EQ(errno, EINVAL) << alignment;
        if (alignment == 0) continue;
        errno = 0;
        EXPECT_EQ(mpmm_backend_allocate(4096, alignment), nullptr) << alignment;
        EXPECT_EQ(errno, EINVAL) << alignment;
    }
    errno = 0;
    EXPECT_EQ(mpmm_persistent_alloc(100, 2 * mpmm_backend_page_size()), nullptr) << "up to the page size";
    EXPECT_EQ(errno, EINVAL);
    for (const std::size_t alignment : {SIZE_MAX / 4 + 1, SIZE_MAX / 2 + 1}) {
        errno = 0;
        EXPECT_EQ(mpmm_aligned_alloc(alignment, 100), nullptr) << alignment;
        EXPECT_EQ(errno, ENOMEM) << alignment;
        errno = 0;
        EXPECT_EQ(mpmm_backend_allocate(4096, alignment), nullptr) << alignment;
        EXPECT_EQ(errno, ENOMEM) << alignment;
    }
}

TEST_F(BadArguments, BackendWantsWholePages) {
    const std::size_t page = mpmm_backend_page_size();
    auto* const memory = static_cast<char*>(mpmm_backend_allocate(4 * page, 0));
    ASSERT_NE(memory, nullptr);
    errno = 0;
    EXPECT_EQ(mpmm_backend_allocate(0, 0), nullptr);
    EXPECT_EQ(errno, EINVAL);
    EXPECT_EQ(mpmm_backend_purge(memory + 1, page), EINVAL);
    EXPECT_EQ(mpmm_backend_purge(memory, page - 1), EINVAL);
    EXPECT_EQ(mpmm_backend_purge(memory, 0), EINVAL);
    EXPECT_EQ(mpmm_backend_purge(nullptr, page), EINVAL);
    EXPECT_EQ(mpmm_backend_deallocate(memory + 1, page), EINVAL);
    EXPECT_EQ(mpmm_backend_deallocate(memory, 0), EINVAL);
    EXPECT_EQ(mpmm_backend_deallocate(nullptr, page), EINVAL);
    EXPECT_EQ(mpmm_backend_deallocate(memory, SIZE_MAX), EINVAL);
    memory[4 * page - 1] = 1;
    EXPECT_EQ(mpmm_backend_deallocate(memory, 4 * page), 0);
}

TEST_F(BadArguments, FixedRegionsHoldAtLeastAChunk) {
    static char small[100000];
    mpmm_backend backend{};
    EXPECT_EQ(mpmm_backend_fixed_region(&backend, small, sizeof small), EINVAL);
    EXPECT_EQ(mpmm_backend_fixed_region(nullptr, small, sizeof small), EINVAL);
    EXPECT_EQ(mpmm_backend_fixed_region(&backend, nullptr, 100 * chunk()), EINVAL);
    EXPECT_EQ(mpmm_backend_fixed_region(&backend, small, 0), EINVAL);
    EXPECT_EQ(mpmm_backend_fixed_region(&backend, small, SIZE_MAX), EINVAL);
    EXPECT_EQ(mpmm_backend_fixed_region(&backend, reinterpret_cast<void*>(UINTPTR_MAX - 100), 50 * chunk()), EINVAL);
    EXPECT_EQ(backend.allocate, nullptr) << "a refused region leaves the struct alone";
}

TEST_F(BadArguments, NullsAreNamedOrIgnored) {
    EXPECT_EQ(mpmm_get_stats(nullptr), EINVAL);
    EXPECT_EQ(mpmm_heap_walk(nullptr, nullptr), EINVAL);
    EXPECT_EQ(mpmm_usable_size(nullptr), 0u);
    EXPECT_EQ(mpmm_set_option(nullptr, "1"), EINVAL);
    EXPECT_EQ(mpmm_set_option("purge", nullptr), EINVAL);
    EXPECT_EQ(mpmm_debugger_find(nullptr).kind, MPMM_ADDRESS_FOREIGN);
    mpmm_free_batch(8, 1, std::vector<void*>{nullptr}.data());
    mpmm_tcache_free(nullptr, 8);
    mpmm_lcache_free(nullptr, 8);
}

TEST_F(BadArguments, UsableSizeOfWhatIsNoBlockIsZero) {
    int local = 0;
    auto* const block = static_cast<char*>(mpmm_malloc(100));
    auto* const large = static_cast<char*>(mpmm_malloc(3 * chunk()));
    EXPECT_EQ(mpmm_usable_size(&local), 0u);
    EXPECT_EQ(mpmm_usable_size(block + 8), 0u);
    EXPECT_EQ(mpmm_usable_size(large + chunk()), 0u);
    EXPECT_EQ(mpmm_usable_size(reinterpret_cast<void*>(UINTPTR_MAX)), 0u);
    mpmm_free(block, 100);
    mpmm_free(large, 3 * chunk());
    EXPECT_EQ(mpmm_usable_size(block), 0u);
    EXPECT_EQ(mpmm_usable_size(large), 0u);
}

#ifdef MPMM_TEST_VERIFY
// Release does not look at the size.
TEST_F(BadArguments, AWrongSizeAtFreeIsNamed) {
    ASSERT_EQ(mpmm_set_option("halt_on_error", "0"), 0);
    void* const block = mpmm_malloc(100);
    ::testing::internal::CaptureStderr();
    mpmm_free(block, 99);
    void* const other = mpmm_malloc(100);
    EXPECT_EQ(mpmm_resize(other, 5000, 90), 1);
    void* const moved = mpmm_realloc(other, 100, 10);
    ASSERT_NE(moved, nullptr);
    const std::string text = ::testing::internal::GetCapturedStderr();
    std::size_t found = 0;
    for (std::size_t at = 0; (at = text.find("ERROR: mpmm: size-mismatch on address 0x", at)) != std::string::npos; ++at) ++found;
    EXPECT_EQ(found, 3u) << text;
    EXPECT_EQ(mpmm_usable_size(moved), 10u) << "what was asked for is done all the same";
    mpmm_free(moved, 10);
}
#endif

}  // namespace
}  // namespace mpmm::test
