// SPDX-License-Identifier: Apache-2.0
// Unwinding through what is not compiled code of this program: code made at run time, libraries that come and go, unwind tables byte by byte,
// and registers and stacks that are broken on purpose.
#include "platform/unwind.hpp"

#include <gtest/gtest.h>

#if defined(__x86_64__) && defined(__linux__)

#include "platform/unwind_rule.hpp"
#include "platform/unwind_stack.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <memory>
#include <random>
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

namespace mpmm::unwind {
namespace {

using Frames = std::vector<std::uintptr_t>;

Frames frames_from(const Registers& from, bool exact = false) {
    Frames frames(256);
    frames.resize(capture(from, exact, frames.data(), frames.size()));
    return frames;
}
bool ends_with(const Frames& frames, const Frames& end) {
    return frames.size() >= end.size() && std::equal(end.rbegin(), end.rend(), frames.rbegin());
}

Frames seen;
[[gnu::noinline]] void look() { seen = frames_from(caller()); }

// ---- code made at run time ----

class Jit : public testing::Test {
  protected:
    void SetUp() override {
        page_ = static_cast<unsigned char*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        if (page_ == MAP_FAILED) GTEST_SKIP() << "no memory that can be written and executed";
        seen.clear();
    }
    void TearDown() override {
        if (page_ != MAP_FAILED) munmap(page_, 4096);
    }
    /// Runs code(look, argument) and returns the stack of who called this.
    [[gnu::noinline]] Frames run(std::initializer_list<unsigned char> code, std::uintptr_t argument = 0) {
        std::copy(code.begin(), code.end(), page_);
        const Frames here = frames_from(caller());
        reinterpret_cast<void (*)(void (*)(), std::uintptr_t)>(page_)(look, argument);
        return here;
    }
    std::uintptr_t at(std::size_t offset) const { return reinterpret_cast<std::uintptr_t>(page_) + offset; }

    unsigned char* page_ = nullptr;
};

TEST_F(Jit, WithFramePointer) {
    // push %rbp; mov %rsp, %rbp; call *%rdi; pop %rbp; ret
    const Frames here = run({0x55, 0x48, 0x89, 0xE5, 0xFF, 0xD7, 0x5D, 0xC3});
    ASSERT_EQ(seen.size(), here.size() + 2);  // the code, and run()
    EXPECT_EQ(seen[0], at(6));
    EXPECT_TRUE(ends_with(seen, here));
}

TEST_F(Jit, WithoutFramePointer) {
    // sub $24, %rsp; call *%rdi; add $24, %rsp; ret
    const Frames here = run({0x48, 0x83, 0xEC, 0x18, 0xFF, 0xD7, 0x48, 0x83, 0xC4, 0x18, 0xC3});
    ASSERT_GE(seen.size(), 1u);
    EXPECT_EQ(seen[0], at(6));
    // rbp is still somebody's: either nothing follows, or true frames.
    if (seen.size() > 1) {
        EXPECT_EQ(seen.back(), here.back());
    }
}

TEST_F(Jit, MisleadingFramePointers) {
    std::uintptr_t words[64] = {};
    const auto sp = reinterpret_cast<std::uintptr_t>(words);
    // Looks like a frame, with a return address that no call is before.
    words[2] = sp + 64;
    words[3] = at(256);
    // One whose caller's address cannot be read.
    words[4] = sp + 64;
    words[5] = 0x123456789000;
    const std::uintptr_t bad[] = {
        0, 1, 8, sp + 3, sp + 16, sp + 32, sp + (1 << 19), ~std::uintptr_t{0}, ~std::uintptr_t{7}, 0xDEAD0000DEAD0000, at(0)};
    for (const std::uintptr_t fp : bad) {
        // push %rbp; mov %rsi, %rbp; call *%rdi; pop %rbp; ret
        run({0x55, 0x48, 0x89, 0xF5, 0xFF, 0xD7, 0x5D, 0xC3}, fp);
        ASSERT_EQ(seen.size(), 1u) << std::hex << fp;
        EXPECT_EQ(seen[0], at(6));
    }
}

// ---- libraries ----

TEST(UnwindLibrary, AnotherInTheSamePlace) {
    const auto folder = std::filesystem::temp_directory_path() / ("mpmm_unwind_" + std::to_string(getpid()));
    std::filesystem::create_directory(folder);
    const auto build = [&](const char* name, int frame) {
        std::ofstream(folder / (std::string(name) + ".c"))
            << "int " << "through(void (*call)(void)) { volatile char frame[" << frame << "]; frame[0] = 1; call(); return frame[0]; }\n";
        const std::string path = folder / (std::string(name) + ".so");
        const std::string command = "cc -O2 -fomit-frame-pointer -fasynchronous-unwind-tables -shared -fPIC -o " + path + " " +
                                    (folder / (std::string(name) + ".c")).string() + " 2>/dev/null";
        return std::system(command.c_str()) == 0 ? path : std::string();
    };
    // Frames of different sizes, and otherwise the same code, so that the call is at the same address.
    const std::string small = build("small", 408), large = build("large", 808);
    if (small.empty() || large.empty()) {
        std::filesystem::remove_all(folder);
        GTEST_SKIP() << "no C compiler";
    }
    const Frames here = frames_from(caller());
    std::vector<std::uintptr_t> places, callers;
    for (int i = 0; i < 6; ++i) {
        void* const library = dlopen((i % 2 == 0 ? small : large).c_str(), RTLD_NOW);
        ASSERT_NE(library, nullptr);
        const auto through = reinterpret_cast<int (*)(void (*)())>(dlsym(library, "through"));
        ASSERT_NE(through, nullptr);
        places.push_back(reinterpret_cast<std::uintptr_t>(through));
        for (int twice = 0; twice < 2; ++twice) {
            seen.clear();
            through(look);
            ASSERT_EQ(seen.size(), here.size() + 2) << i;
            // One and the same call: this function's frame pointer leads to its caller even when the address is wrong.
            callers.push_back(seen[1]);
            EXPECT_EQ(callers.back(), callers.front()) << i;
            EXPECT_TRUE(ends_with(seen, here)) << i;
        }
        dlclose(library);
        forget();
    }
    EXPECT_EQ(places[0], places[1]) << "not in the same place: says nothing about forget()";
    std::filesystem::remove_all(folder);
}

// ---- broken stacks ----

TEST(UnwindBroken, StackThatEndsAtAnUnreadablePage) {
    constexpr std::size_t page = 4096;
    auto* const memory = static_cast<unsigned char*>(mmap(nullptr, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(memory, MAP_FAILED);
    ASSERT_EQ(mprotect(memory, page, PROT_NONE), 0);
    ASSERT_EQ(mprotect(memory + 2 * page, page, PROT_NONE), 0);
    munmap(memory + 3 * page, page);
    const auto low = reinterpret_cast<std::uintptr_t>(memory);
    EXPECT_FALSE(StackReader::readable(low, 8));
    EXPECT_TRUE(StackReader::readable(low + page, page));
    EXPECT_FALSE(StackReader::readable(low + page, page + 1));
    EXPECT_FALSE(StackReader::readable(low + 3 * page, 8));
    EXPECT_FALSE(StackReader::readable(~std::uintptr_t{0} - 4, 8));
    errno = EINVAL;
    EXPECT_FALSE(StackReader::readable(0, 8));
    EXPECT_EQ(errno, EINVAL);
    const Registers real = caller();
    for (const std::uintptr_t pc : frames_from(real))
        for (std::uintptr_t sp = low - 24; sp < low + 4 * page + 24; sp += 4) {
            for (const std::uintptr_t fp : {sp, sp + 8, low + 2 * page - 8, low + 2 * page, std::uintptr_t{0}}) {
                EXPECT_GE(frames_from({pc, sp, fp}).size(), 1u);
                EXPECT_GE(frames_from({pc, sp, fp}, true).size(), 1u);
            }
        }
    munmap(memory, 3 * page);
}

TEST(UnwindBroken, AnyRegistersAndAnyStack) {
    std::minstd_rand random(7);
    const Registers real = caller();
    const Frames code = frames_from(real);
    std::vector<std::uintptr_t> stack(4096);
    const auto address = [&]() -> std::uintptr_t {
        switch (random() % 8) {
            case 0: return random();
            case 1: return std::uintptr_t{random()} << 33 | random();
            case 2: return real.sp + random() % 4096;
            case 3: return real.sp & ~std::uintptr_t{4095};
            case 4: return ~std::uintptr_t{0} - random() % 64;
            case 5: return code[random() % code.size()];
            default: return reinterpret_cast<std::uintptr_t>(&stack[random() % stack.size()]);
        }
    };
    for (int i = 0; i < 20000; ++i) {
        for (int n = 0; n < 50; ++n) stack[random() % stack.size()] = random() % 2 ? code[random() % code.size()] : address();
        const Registers from{random() % 4 ? code[random() % code.size()] : address(), address(), address()};
        const int number = i % 2 ? EINVAL : EFAULT;
        errno = number;
        EXPECT_GE(frames_from(from, random() % 2).size(), 1u);
        EXPECT_EQ(errno, number);
    }
}

// ---- tables ----

/// The row after instructions in a function at 1000, asked for address 1020.
Row after(std::initializer_list<int> instructions) {
    static std::vector<unsigned char> common, own;
    common = {0x0C, 7, 8, 0x80 | 16, 1};  // CFA = rsp + 8, return address at CFA - 8
    own.assign(instructions.begin(), instructions.end());
    const auto begin = [](const auto& bytes) { return reinterpret_cast<std::uintptr_t>(bytes.data()); };
    return run({begin(common), begin(common) + common.size(), begin(own), begin(own) + own.size(), 1000, 1, -8, 0x03, false}, 1020);
}
void expect(const Row& row, Kind kind, int cfa_offset, Row::Saved saved = Row::Saved::in_register, int saved_offset = 0) {
    EXPECT_EQ(row.kind, kind);
    EXPECT_EQ(row.cfa_offset, cfa_offset);
    EXPECT_EQ(row.saved, saved);
    EXPECT_EQ(row.saved_offset, saved_offset);
}

TEST(UnwindTables, Instructions) {
    using enum Kind;
    using enum Row::Saved;
    expect(after({}), sp, 8);
    expect(after({0, 0x0E, 16, 0x86, 2}), sp, 16, below_cfa, -16);
    expect(after({0x41, 0x0E, 16, 0x86, 2, 0x43, 0x0D, 6}), fp, 16, below_cfa, -16);
    expect(after({0x40 | 20, 0x0E, 24, 0x41, 0x0E, 32}), sp, 24);  // advance to 1020 and beyond
    expect(after({0x02, 20, 0x0E, 24, 0x02, 1, 0x0E, 32}), sp, 24);
    expect(after({0x03, 20, 0, 0x0E, 24, 0x04, 1, 0, 0, 0, 0x0E, 32}), sp, 24);
    expect(after({0x01, 0xFC, 3, 0, 0, 0x0E, 24, 0x01, 0xFD, 3, 0, 0, 0x0E, 32}), sp, 24);  // set_loc 1020, 1021
    expect(after({0x0C, 6, 48, 0x05, 6, 3}), fp, 48, below_cfa, -24);
    expect(after({0x86, 2, 0x0A, 0x0E, 40, 0xC6, 0x0B}), sp, 8, below_cfa, -16);  // remember, restore rbp, restore_state
    expect(after({0x86, 2, 0x06, 6}), sp, 8);
    expect(after({0x86, 2, 0x08, 6}), sp, 8);
    expect(after({0x07, 6}), sp, 8, lost);
    expect(after({0x09, 6, 3}), sp, 8, lost);
    expect(after({0x09, 6, 6}), sp, 8);
    expect(after({0x11, 6, 2, 0x12, 7, 0x7E}), sp, 16, below_cfa, -16);
    expect(after({0x13, 0x7D}), sp, 24);
    expect(after({0x2F, 6, 0x02}), sp, 8, below_cfa, 16);
    expect(after({0x2E, 0x80, 0x01, 0x0E, 0x80, 0x01}), sp, 128);
    expect(after({0x14, 6, 2}), sp, 8, lost);
    expect(after({0x15, 6, 2}), sp, 8, lost);
    expect(after({0x14, 7, 0}), sp, 8);
    expect(after({0x0F, 3, 0x76, 0x78, 0x06, 0x10, 6, 2, 0x76, 0}), fp_indirect, -8, at_fp);
    expect(after({0x10, 3, 2, 0x76, 0x70, 0x16, 12, 1, 0x30, 0x83, 4}), sp, 8);  // other registers
    const auto plt = {0x0F, 11, 0x77, 8, 0x80, 0, 0x3F, 0x1A, 0x3B, 0x2A, 0x33, 0x24, 0x22};
    expect(after(plt), sp, 1020 % 16 >= 11 ? 16 : 8);
    EXPECT_EQ(after({0x07, 16}).kind, end);
    for (const auto& strange :
         {after({0x0C, 3, 16}), after({0x0D, 10}), after({0x80 | 16, 2}), after({0x09, 16, 3}), after({0x10, 16, 2, 0x77, 0}),
          after({0x86}), after({0x0B}), after({0x3F}), after({0x87, 3}), after({0x14, 7, 1}), after({0x0F, 1, 0x9C}),
          after({0x0F, 100, 0x76}), after({0x16, 7, 2, 0x77, 0}), after({0x2D}), after({0x0F, 0}),
          after({0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A, 0x0A})})
        EXPECT_EQ(strange.kind, unknown);
}

TEST(UnwindTables, AnyBytes) {
    std::minstd_rand random(3);
    for (int i = 0; i < 100000; ++i) {
        // On the heap and exactly as long, so that AddressSanitizer sees a read beyond.
        const std::size_t size = random() % 40;
        const auto bytes = std::make_unique<unsigned char[]>(size);
        for (std::size_t n = 0; n < size; ++n) bytes[n] = static_cast<unsigned char>(random() >> 8);
        const auto begin = reinterpret_cast<std::uintptr_t>(bytes.get());
        const Row row = run({begin, begin + size / 2, begin + size / 2, begin + size, random(), random(),
                             static_cast<std::int64_t>(random()), static_cast<std::uint8_t>(random()), false},
                            random());
        const std::uint64_t packed = Packed::pack(row);
        if (packed == Packed::not_packed) continue;
        const Row again = Packed::unpack(packed);
        EXPECT_EQ(again.kind, row.kind);
        if (Packed::from_register(packed))
            expect(row, again.kind, static_cast<int>(again.cfa_offset), again.saved, static_cast<int>(again.saved_offset));
    }
}

TEST(UnwindTables, PackedRows) {
    for (const Kind kind : {Kind::sp, Kind::fp})
        for (std::int64_t cfa = 0; cfa <= 0x3FFF8; cfa += 8)
            for (const std::int64_t saved : {-8, -16, -0x3F8}) {
                const Row row = Packed::unpack(Packed::pack({kind, Row::Saved::below_cfa, true, cfa, saved}));
                if (row.kind != kind || row.cfa_offset != cfa || row.saved != Row::Saved::below_cfa || row.saved_offset != saved)
                    FAIL() << cfa;
            }
    const auto packs = [](const Row& row) { return Packed::pack(row) != Packed::not_packed; };
    EXPECT_TRUE(packs({Kind::sp, Row::Saved::in_register, true, 8, 0}));
    EXPECT_FALSE(packs({Kind::sp, Row::Saved::in_register, true, 0x40000, 0}));
    EXPECT_FALSE(packs({Kind::sp, Row::Saved::in_register, true, 12, 0}));
    EXPECT_FALSE(packs({Kind::sp, Row::Saved::in_register, true, -8, 0}));
    EXPECT_FALSE(packs({Kind::sp, Row::Saved::below_cfa, true, 8, -0x400}));
    EXPECT_FALSE(packs({Kind::sp, Row::Saved::below_cfa, true, 8, 8}));
    EXPECT_FALSE(packs({Kind::sp, Row::Saved::lost, true, 8, 0}));
    EXPECT_FALSE(packs({Kind::fp_indirect, Row::Saved::below_cfa, true, -8, -16}));
    EXPECT_FALSE(packs({Kind::unknown, Row::Saved::in_register, false, 0, 0}));
}

}  // namespace
}  // namespace mpmm::unwind

#endif
