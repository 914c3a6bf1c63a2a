// SPDX-License-Identifier: Apache-2.0
// The harness is tested too: allocators with one planted fault each, and the model must name that fault. A model that passes them all
// would pass anything.
#include "programs.hpp"

#include "harness/heap_target.hpp"
#include "harness/isolated.hpp"
#include "harness/mutator.hpp"
#include "harness/print.hpp"
#include "harness/shrink.hpp"

#include <cerrno>
#include <gtest/gtest.h>

namespace mpmm::fuzz {
namespace {

/// A long program of every operation, the same in every run.
const Program& long_program() {
    static const Program program = [] {
        std::vector<std::uint8_t> bytes(Program::header_size + 300 * Operation::record_size);
        Random random(5);
        for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random() >> 8);
        Program made = decode(bytes);
        made.flavour = 0;
        // Two equal blocks first, and nothing is ever refused.
        made.operations.insert(made.operations.begin(), 2, Operation{.size = boundary(7)});
        std::erase_if(made.operations, [](const Operation& operation) { return operation.kind == Kind::fault; });
        return made;
    }();
    return program;
}

struct Healthy : Subject {};

struct HandsOutTwice : Subject {
    void* last = nullptr;
    void* malloc(std::size_t size) override {
        if (last != nullptr && mpmm_round_size(size) == mpmm_usable_size(last)) return last;
        return last = mpmm_malloc(size);
    }
    void free(void* block, std::size_t size) override {
        if (block == last) last = nullptr;
        mpmm_free(block, size);
    }
};
struct Misaligns : Subject {
    const std::byte* last = nullptr;
    void* malloc(std::size_t size) override {
        auto* const block = static_cast<std::byte*>(mpmm_malloc(size + 8));
        if (block == nullptr) return nullptr;
        last = block + 8;
        return block + 8;
    }
    std::size_t usable_size(const void* block) override {
        return block != nullptr && block == last ? mpmm_usable_size(last - 8) - 8 : mpmm_usable_size(block);
    }
};
struct GivesTooLittle : Subject {
    std::size_t usable_size(const void* block) override { return mpmm_usable_size(block) / 2; }
};
struct ForgetsToZero : Subject {
    void* zalloc(std::size_t size) override {
        auto* const block = static_cast<std::byte*>(mpmm_zalloc(size));
        if (block != nullptr && size != 0) block[size - 1] = std::byte{1};
        return block;
    }
};
struct ReallocLosesContent : Subject {
    void* realloc(void* block, std::size_t old_size, std::size_t size) override {
        auto* const moved = static_cast<std::byte*>(mpmm_realloc(block, old_size, size));
        if (moved != nullptr && size != 0 && old_size != 0) moved[0] ^= std::byte{0xFF};
        return moved;
    }
};
struct FreeWritesElsewhere : Subject {
    std::byte* victim = nullptr;
    void* malloc(std::size_t size) override {
        void* const block = mpmm_malloc(size);
        if (victim == nullptr && size > 100) victim = static_cast<std::byte*>(block);
        return block;
    }
    void free(void* block, std::size_t size) override {
        if (victim != nullptr && block != victim) victim[10] = std::byte{2};
        mpmm_free(block, size);
    }
};
struct LosesFrees : Subject {
    int frees = 0;
    void free(void* block, std::size_t size) override {
        if (++frees % 10 != 0) mpmm_free(block, size);
    }
};
struct FreesTwice : Subject {
    void free(void* block, std::size_t size) override {
        mpmm_free(block, size);
        mpmm_free(block, size);
    }
};
struct ChangesErrno : Subject {
    void* malloc(std::size_t size) override {
        void* const block = mpmm_malloc(size);
        errno = EAGAIN;
        return block;
    }
};
struct RefusesWithoutReason : Subject {
    int calls = 0;
    void* malloc(std::size_t size) override {
        if (++calls < 5) return mpmm_malloc(size);
        errno = ENOMEM;
        return nullptr;
    }
};
struct MiscountsBlocks : Subject {
    int stats(mpmm_stats& stats) override {
        const int result = mpmm_get_stats(&stats);
        stats.used_bytes += stats.used_blocks > 3 ? 8 : 0;
        return result;
    }
};
struct WalkMissesOne : Subject {
    struct Filter {
        mpmm_walk_callback callback;
        void* context;
        int seen = 0;
    };
    int walk(mpmm_walk_callback callback, void* context) override {
        Filter filter{callback, context};
        return mpmm_heap_walk(
            [](void* block, std::size_t size, void* self) {
                auto& inner = *static_cast<Filter*>(self);
                return ++inner.seen == 2 ? 0 : inner.callback(block, size, inner.context);
            },
            &filter);
    }
};
struct FindIsOffByOne : Subject {
    mpmm_address_info find(const void* address) override {
        mpmm_address_info info = mpmm_debugger_find(address);
        if (info.kind == MPMM_ADDRESS_LIVE) ++info.offset;
        return info;
    }
};
struct ResizeLies : Subject {
    int resize(void* block, std::size_t old_size, std::size_t size) override {
        return mpmm_resize(block, old_size, size) | (block != nullptr);
    }
};
struct RoundsWrongly : Subject {
    std::size_t round_size(std::size_t size) override { return mpmm_round_size(size) + (size == 0 ? 0 : 16); }
};
struct VerifyFindsSomething : Subject {
    std::size_t verify() override { return mpmm_verify_heap() + 1; }
};
struct BatchRepeats : Subject {
    std::size_t malloc_batch(std::size_t size, std::size_t count, void** blocks) override {
        const std::size_t got = mpmm_malloc_batch(size, count, blocks);
        if (got > 2) blocks[got - 1] = blocks[0];
        return got;
    }
};

template <class Faulty>
std::string finds() {
    const auto failure = run_isolated(long_program(), [] { return std::make_unique<Faulty>(); });
    return failure ? failure->message : "nothing";
}

bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

#define EXPECT_FOUND(Faulty, what)                                   \
    do {                                                             \
        const std::string found = finds<Faulty>();                   \
        EXPECT_TRUE(contains(found, what)) << #Faulty ": " << found; \
    } while (false)

TEST(SelfCheck, TheHealthyAllocatorPasses) { EXPECT_EQ(finds<Healthy>(), "nothing"); }

TEST(SelfCheck, WrongBlocksAreFound) {
    EXPECT_FOUND(HandsOutTwice, "overlap");
    EXPECT_FOUND(Misaligns, "misaligned");
    EXPECT_FOUND(GivesTooLittle, "too short");
    EXPECT_FOUND(BatchRepeats, "overlap");
    EXPECT_FOUND(ResizeLies, "too short");
    EXPECT_FOUND(RoundsWrongly, "size: ");
}

TEST(SelfCheck, WrongContentIsFound) {
    EXPECT_FOUND(ForgetsToZero, "not zero");
    EXPECT_FOUND(ReallocLosesContent, "content changed");
    // Its victim may have been freed: then it is verify that stops the program.
    const bool verify = contains(mpmm_version(), "+verify");
    const std::string found = finds<FreeWritesElsewhere>();
    EXPECT_TRUE(contains(found, "content changed") || (verify && contains(found, "died"))) << found;
}

TEST(SelfCheck, WrongAccountsAreFound) {
    EXPECT_FOUND(LosesFrees, "stats: ");
    EXPECT_FOUND(MiscountsBlocks, "stats: ");
    EXPECT_FOUND(WalkMissesOne, "walk: ");
    EXPECT_FOUND(FindIsOffByOne, "find: ");
    EXPECT_FOUND(VerifyFindsSomething, "verif");
}

TEST(SelfCheck, WrongErrorsAreFound) {
    EXPECT_FOUND(ChangesErrno, "changed errno");
    EXPECT_FOUND(RefusesWithoutReason, "there was memory");
}

/// A program that dies is a failure like any other: here the allocator stops it.
TEST(SelfCheck, DeathIsFound) { EXPECT_FOUND(FreesTwice, "died"); }

/// The search for a small counterexample ends where it should: at the one operation that is needed.
TEST(SelfCheck, FailuresShrink) {
    std::size_t smallest = ~std::size_t{0};
    std::ostringstream quiet;
    std::streambuf* const before = std::cerr.rdbuf(quiet.rdbuf());
    const bool passed = rc::check("zeroed blocks are zero", [&](const Program& program) {
        const auto failure = run_isolated(program, [] { return std::make_unique<ForgetsToZero>(); });
        if (failure) smallest = std::min(smallest, program.operations.size());
        RC_ASSERT(!failure.has_value());
    });
    std::cerr.rdbuf(before);
    EXPECT_FALSE(passed);
    EXPECT_EQ(smallest, 1u);
}

// ---- the shrinker ----

TEST(SelfCheck, TheShrinkerFindsTheOneSmallestProgram) {
    // Two frees of other slots than the first, with an allocation of more than 100 bytes somewhere before.
    const auto fails = [](const Bytes& input) {
        const auto program = decode(input);
        unsigned frees = 0;
        bool large = false;
        for (const Operation& operation : program.operations) {
            large = large || (operation.kind == Kind::zalloc && operation.size > 100);
            if (large && operation.kind == Kind::free && operation.slot != 0) ++frees;
        }
        return frees >= 2;
    };
    const Bytes input = encode(long_program());
    ASSERT_TRUE(fails(input));
    const Program smallest{0, {{.kind = Kind::zalloc, .size = 101}, {.kind = Kind::free, .slot = 1}, {.kind = Kind::free, .slot = 1}}};
    EXPECT_EQ(describe(decode(shrink(heap_inputs, input, fails))), describe(smallest));
}

TEST(SelfCheck, TheShrinkerStopsWhenItsRunsAreUsedUp) {
    unsigned runs = 0;
    const Bytes input = encode(long_program());
    const Bytes smaller = shrink(heap_inputs, input, [&](const Bytes& candidate) { return ++runs, candidate.size() > 100; }, 5);
    EXPECT_EQ(runs, 5u);
    EXPECT_LT(smaller.size(), input.size());
    EXPECT_GT(smaller.size(), 100u);
}

TEST(SelfCheck, TheShrinkerKeepsTheFaultOfAFaultyAllocator) {
    const auto fails = [](const Bytes& input) {
        const auto failure = run_isolated(decode(input), [] { return std::make_unique<ForgetsToZero>(); });
        return failure && failure->message.find("not zero") != std::string::npos;
    };
    const Program smaller = decode(shrink(heap_inputs, encode(long_program()), fails, 600));
    EXPECT_TRUE(fails(encode(smaller)));
    EXPECT_LE(smaller.operations.size(), 3u);
}

}  // namespace
}  // namespace mpmm::fuzz
