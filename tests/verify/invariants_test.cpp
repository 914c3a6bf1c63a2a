// SPDX-License-Identifier: Apache-2.0
// The checks can fail: each test breaks one structure and expects the heap check, or the user-error report, to say so.
#include "configs.hpp"
#include "heap/heap.hpp"

#include <string>

namespace mpmm {
namespace {

/// A heap of its own, so that what these tests break is nobody else's.
using H = Heap<Config<Geometry<8192, 64>, BuildVerify, 24>>;
using Block = H::Block;

class Invariants : public ::testing::Test {
  protected:
    void SetUp() override {
        options::set("halt_on_error", 13, "0", 1);
        memory = H::malloc(96);
        block = static_cast<Block*>(H::shared.locate(memory));
        ::testing::internal::CaptureStderr();
    }
    void TearDown() override {
        if (!stopped) ::testing::internal::GetCapturedStderr();
        H::free(memory);
        options::set("halt_on_error", 13, "1", 1);
        EXPECT_EQ(H::verify(), 0u) << "the test repaired what it broke";
    }
    std::string output() {
        stopped = true;
        return ::testing::internal::GetCapturedStderr();
    }
    void* memory = nullptr;
    Block* block = nullptr;
    bool stopped = false;
};

TEST_F(Invariants, WholeHeapIsFine) {
    EXPECT_EQ(H::verify(), 0u);
    EXPECT_EQ(output(), "");
}

TEST_F(Invariants, FreeAndRemoteOverlapIsFound) {
    const unsigned last = block->used_words() - 1;
    block->remote_map[last].fetch_or(std::uint64_t{1} << 63);
    EXPECT_EQ(H::verify(), 1u);
    block->remote_map[last].store(0);
    EXPECT_NE(output().find("free and remote map are disjoint"), std::string::npos);
}

TEST_F(Invariants, IllegalOwnerIsFound) {
    const std::uintptr_t word = block->owner_word.load();
    block->owner_word.store(Owner(OwnerState::large_used).word());
    EXPECT_EQ(H::verify(), 1u);
    block->owner_word.store(word);
    EXPECT_NE(output().find("legal owner state"), std::string::npos);
}

TEST_F(Invariants, WrongChunkRecordIsFound) {
    ++block->chunk->free_slots;
    EXPECT_EQ(H::verify(), 1u);
    --block->chunk->free_slots;
    EXPECT_NE(output().find("free slots are counted"), std::string::npos);
}

TEST_F(Invariants, WrongMapEntryIsFound) {
    using Entries = TenantEntries<H::G>;
    H::shared.map.set(block->chunk->extent.base, Entries::none());
    EXPECT_GE(H::verify(), 1u);
    H::shared.map.set(block->chunk->extent.base, block->chunk->entry());
    EXPECT_NE(output().find("map entry"), std::string::npos);
}

TEST_F(Invariants, LostTagOfAFreeRunIsFound) {
    void* const large = H::malloc(4 * H::G::chunk);
    H::free(large);
    mpmm::Run* run = nullptr;
    H::shared.large.for_each_free([&](mpmm::Run& r) { run = &r; });
    ASSERT_NE(run, nullptr);
    std::byte* const last = run->extent.base + (run->extent.chunks - 1) * H::G::chunk;
    const auto entry = H::shared.map.find(last);
    H::shared.map.set(last, TenantEntries<H::G>::none());
    EXPECT_EQ(H::verify(), 1u);
    H::shared.map.set(last, entry);
    EXPECT_NE(output().find("tagged at its last chunk"), std::string::npos);
}

TEST_F(Invariants, UserErrorsAreReportedAndIgnored) {
    int on_stack = 0;
    void* const victim = H::malloc(96);
    H::malloc(96);
    H::free(victim);
    H::free(victim);
    H::free(static_cast<std::byte*>(memory) + 1);
    H::free(static_cast<std::byte*>(memory) + 16);
    H::free(&on_stack);
    H::free(reinterpret_cast<void*>(std::uintptr_t{1} << 63));
    const std::string text = output();
    std::size_t doubles = 0, invalid = 0;
    for (std::size_t at = 0; (at = text.find("ERROR: mpmm: double-free on address 0x", at)) != std::string::npos; ++at) ++doubles;
    for (std::size_t at = 0; (at = text.find("ERROR: mpmm: invalid-free on address 0x", at)) != std::string::npos; ++at) ++invalid;
    EXPECT_EQ(doubles, 1u) << text;
    EXPECT_EQ(invalid, 4u) << text;
}

TEST_F(Invariants, OptionsAreCheckedAsAWhole) {
    EXPECT_FALSE(options::apply("exitcode=7:no_such_key=1:purge=2"));
    EXPECT_EQ(options::get(options::exitcode), 0u) << "nothing changed";
    EXPECT_TRUE(options::apply("exitcode=7::purge_delay_ms=2k"));
    EXPECT_EQ(options::get(options::exitcode), 7u);
    EXPECT_EQ(options::get(options::purge_delay_ms), 2048u);
    EXPECT_TRUE(options::apply("exitcode=0:purge_delay_ms=1000"));
    EXPECT_FALSE(options::apply("exitcode"));
    EXPECT_FALSE(options::apply("exitcode="));
    EXPECT_FALSE(options::apply("exitcode=99999999999999999999999"));
    EXPECT_FALSE(options::apply("exitcode=1x"));
    const std::string text = output();
    EXPECT_NE(text.find("unknown key 'no_such_key'"), std::string::npos) << text;
    EXPECT_NE(text.find("bad value for 'purge'"), std::string::npos) << text;
}

}  // namespace
}  // namespace mpmm
