// SPDX-License-Identifier: Apache-2.0
// What is mapped where: against what the loader itself says, and against mappings made for the purpose.
#include "platform/modules.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <link.h>
#include <string>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

namespace {

namespace modules = mpmm::modules;

struct Line {
    std::uintptr_t start, end;
    bool readable, writable, executable, is_private;
    std::uint64_t offset;
    std::string path;
};

std::vector<Line> all_mappings() {
    static std::vector<Line> lines;  // grows outside of the walk
    lines.clear();
    lines.reserve(4096);
    const bool read = modules::for_each(
        [](void*, const modules::Mapping& m) {
            lines.push_back({m.start, m.end, m.readable, m.writable, m.executable, m.is_private, m.offset, m.path});
            return true;
        },
        nullptr);
    EXPECT_TRUE(read);
    return lines;
}

std::uintptr_t address(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }

/// Removes its file at the end.
struct Scratch {
    explicit Scratch(std::string name) : path(testing::TempDir() + name + std::to_string(::getpid())) {}
    ~Scratch() { ::unlink(path.c_str()); }
    const std::string path;
};

void* map_page(const std::string& path, int protection) {
    const int file = ::open(path.c_str(), O_RDONLY);
    void* const memory = ::mmap(nullptr, 4096, protection, MAP_PRIVATE, file, 0);
    ::close(file);
    return memory;
}

TEST(Modules, WalkFindsMappingsInOrder) {
    const std::vector<Line> lines = all_mappings();
    ASSERT_GT(lines.size(), 5u);
    for (std::size_t i = 1; i < lines.size(); ++i) EXPECT_LE(lines[i - 1].end, lines[i].start);
    int local = 0;
    bool code = false, stack = false;
    for (const Line& line : lines) {
        const auto contains = [&](std::uintptr_t a) { return line.start <= a && a < line.end; };
        if (contains(address(reinterpret_cast<void*>(&all_mappings))))
            code = line.executable && line.readable && !line.writable && line.is_private;
        if (contains(address(&local))) stack = line.readable && line.writable && line.path == "[stack]";
    }
    EXPECT_TRUE(code);
    EXPECT_TRUE(stack);
}

TEST(Modules, WalkStopsWhenTold) {
    int calls = 0;
    EXPECT_TRUE(modules::for_each([](void* context, const modules::Mapping&) { return ++*static_cast<int*>(context) < 3; }, &calls));
    EXPECT_EQ(calls, 3);
}

TEST(Modules, ManyMappingsAreAllSeen) {
    // Many times the reader's buffer, in alternating rights so that the kernel does not merge them.
    constexpr std::size_t count = 2000;
    char* const area = static_cast<char*>(::mmap(nullptr, count * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    ASSERT_NE(area, MAP_FAILED);
    for (std::size_t i = 0; i < count; i += 2) ASSERT_EQ(::mprotect(area + i * 4096, 4096, PROT_READ), 0);
    std::size_t seen = 0;
    for (const Line& line : all_mappings())
        if (line.start >= address(area) && line.end <= address(area) + count * 4096) ++seen;
    EXPECT_GE(seen, count - 1);
    // The addresses stay taken: freed memory is full of them, and other tests look for pointers to what they map.
    EXPECT_EQ(::mmap(area, count * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0), area);
}

TEST(Modules, BaseIsTheLoaders) {
    struct Expected {
        std::uintptr_t pc, base;
    };
    std::vector<Expected> expected;
    ::dl_iterate_phdr(
        [](dl_phdr_info* info, std::size_t, void* context) {
            for (int i = 0; i < info->dlpi_phnum; ++i) {
                const auto& segment = info->dlpi_phdr[i];
                if (segment.p_type != PT_LOAD || segment.p_filesz == 0) continue;
                // The segment's first and last byte that come from the file, but none that a neighbour's page holds too.
                static_cast<std::vector<Expected>*>(context)->push_back({info->dlpi_addr + segment.p_vaddr, info->dlpi_addr});
                static_cast<std::vector<Expected>*>(context)->push_back(
                    {info->dlpi_addr + segment.p_vaddr + segment.p_filesz - 1, info->dlpi_addr});
            }
            return 0;
        },
        &expected);
    ASSERT_GT(expected.size(), 10u);
    for (const Expected& one : expected) {
        modules::Module module;
        ASSERT_TRUE(modules::find(one.pc, module)) << std::hex << one.pc;
        EXPECT_EQ(module.base, one.base) << module.path << std::hex << " at " << one.pc;
        EXPECT_LE(module.start, one.pc);
        EXPECT_GT(module.end, one.pc);
    }
}

TEST(Modules, TheVdsoIsAModule) {
    const std::uintptr_t vdso = ::getauxval(AT_SYSINFO_EHDR);
    if (vdso == 0) GTEST_SKIP() << "no vdso";
    modules::Module module;
    ASSERT_TRUE(modules::find(vdso + 100, module));
    EXPECT_STREQ(module.path, "[vdso]");
    EXPECT_EQ(module.base, vdso);
}

TEST(Modules, DataAndNothingAreNoModules) {
    modules::Module module;
    int local = 0;
    void* const heap = std::malloc(100);
    EXPECT_FALSE(modules::find(address(&local), module));
    EXPECT_FALSE(modules::find(address(heap), module));
    EXPECT_FALSE(modules::find(0, module));
    EXPECT_FALSE(modules::find(1, module));
    EXPECT_FALSE(modules::find(UINTPTR_MAX, module));
    std::free(heap);
}

TEST(Modules, FilesThatAreNoElfAreNoModules) {
    const Scratch text("text"), broken("broken");
    std::ofstream(text.path) << std::string(5000, 'x');
    // The right beginning, and then every number as large as can be.
    std::ofstream(broken.path) << std::string(ELFMAG) << char(sizeof(void*) == 8 ? ELFCLASS64 : ELFCLASS32) << std::string(5000, '\xff');
    for (const std::string& path : {text.path, broken.path}) {
        void* const memory = map_page(path, PROT_READ);
        ASSERT_NE(memory, MAP_FAILED);
        modules::Module module;
        EXPECT_FALSE(modules::find(address(memory), module)) << path;
        ::munmap(memory, 4096);
    }
}

TEST(Modules, PathsOfAllKindsAreRead) {
    for (const char* name : {"with space ", "new\nline", "back\\slash", "end (deleted)", "quote'\"", "\x01\x7f"}) {
        const Scratch file(name);
        std::ofstream(file.path) << std::string(5000, 'x');
        void* const memory = map_page(file.path, PROT_READ);
        ASSERT_NE(memory, MAP_FAILED);
        std::string found;
        for (const Line& line : all_mappings())
            if (line.start == address(memory)) found = line.path;
        EXPECT_EQ(found, file.path);
        ::munmap(memory, 4096);
    }
}

TEST(Modules, PathOfADeletedFileIsNotUsed) {
    struct Found {
        std::uintptr_t start;
        int usable = -1;
        std::string path{};
    };
    for (const bool deleted : {false, true}) {
        const Scratch file("gone");
        std::ofstream(file.path) << std::string(5000, 'x');
        void* const memory = map_page(file.path, PROT_READ);
        if (deleted) ::unlink(file.path.c_str());
        Found found{address(memory)};
        modules::for_each(
            [](void* context, const modules::Mapping& mapping) {
                Found& wanted = *static_cast<Found*>(context);
                if (mapping.start != wanted.start) return true;
                char path[4096];
                wanted.usable = modules::file_path(mapping, path, sizeof path);
                if (wanted.usable) wanted.path = path;
                return false;
            },
            &found);
        EXPECT_EQ(found.usable, deleted ? 0 : 1);
        EXPECT_EQ(found.path, deleted ? "" : file.path);
        ::munmap(memory, 4096);
    }
}

TEST(Modules, ErrnoIsKept) {
    modules::Module module;
    errno = ERANGE;
    modules::find(address(reinterpret_cast<void*>(&all_mappings)), module);
    modules::find(1, module);
    EXPECT_EQ(errno, ERANGE);
}

}  // namespace
