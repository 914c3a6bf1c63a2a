// SPDX-License-Identifier: Apache-2.0
// Clean use of the allocation functions and of what is built upon them, in one thread.
#include "detect/clean.hpp"

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <list>
#include <malloc.h>
#include <map>
#include <memory>
#include <memory_resource>
#include <new>
#include <sstream>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

namespace mpmm::detect {
namespace {

void containers() {
    std::map<int, std::string> map;
    std::unordered_map<std::string, std::vector<int>> hashed;
    std::deque<std::string> deque;
    std::list<std::unique_ptr<int>> list;
    for (int i = 0; i < 3000; ++i) {
        map[i * 7919 % 3001] = std::string(static_cast<std::size_t>(i % 200), 'm');
        hashed[std::to_string(i)].assign(static_cast<std::size_t>(i % 50), i);
        deque.push_back(std::to_string(i));
        if (i % 3 == 0) deque.pop_front();
        list.push_back(std::make_unique<int>(i));
    }
    const auto copy = map;
    map.clear();
    auto shared = std::make_shared<std::vector<std::string>>(1000, "shared");
    const std::weak_ptr<std::vector<std::string>> weak = shared;
    shared.reset();
    std::pmr::monotonic_buffer_resource arena;
    std::pmr::vector<int> in_arena(&arena);
    for (int i = 0; i < 10000; ++i) in_arena.push_back(i);
    must(copy.size() == 3000 && weak.expired() && list.size() == 3000, "containers");
}

void strings() {
    std::string grown;
    for (int i = 0; i < 20000; ++i) grown += static_cast<char>('a' + i % 26);
    std::ostringstream stream;
    for (int i = 0; i < 1000; ++i) stream << grown.substr(static_cast<std::size_t>(i), 100) << i;
    must(stream.str().size() > 100000, "strings");
}

void exceptions() {
    for (int i = 0; i < 200; ++i) try {
            const std::vector<std::string> unwound(10, std::string(200, 'u'));
            throw std::runtime_error(std::string(300, 'e') + unwound[0]);
        } catch (const std::exception& error) {
            const std::exception_ptr kept = std::current_exception();
            must(std::strlen(error.what()) == 500 && kept != nullptr, "exception");
        }
    try {
        volatile std::size_t impossible = PTRDIFF_MAX;
        ::operator delete(::operator new(impossible));
        must(false, "bad_alloc");
    } catch (const std::bad_alloc&) {
    }
}

void aligned_families() {
    for (std::size_t alignment = 8; alignment <= 65536; alignment *= 2)
        for (const std::size_t size : {std::size_t{1}, std::size_t{24}, std::size_t{1000}, std::size_t{6000}, std::size_t{300000}}) {
            void* posix = nullptr;
            must(::posix_memalign(&posix, alignment, size) == 0, "posix_memalign");
            void* const blocks[] = {posix, ::aligned_alloc(alignment, size), ::memalign(alignment, size),
                                    ::realloc(::memalign(alignment, size), size * 2)};
            for (void* const block : {posix, blocks[1], blocks[2]})
                must(reinterpret_cast<std::uintptr_t>(block) % alignment == 0, "alignment");
            for (void* const block : blocks) std::free(filled(block, size, 'a'));
            const std::align_val_t wanted{alignment};
            ::operator delete(filled(::operator new(size, wanted), size, 'n'), wanted);
            ::operator delete(filled(::operator new(size, wanted), size, 'n'), size, wanted);
            ::operator delete[](filled(::operator new[](size, wanted), size, 'n'), wanted);
            ::operator delete(filled(::operator new(size, wanted, std::nothrow), size, 'n'), wanted, std::nothrow);
        }
    std::free(filled(::valloc(5000), 5000, 'v'));
    std::free(filled(::pvalloc(5000), 8192, 'p'));
}

void new_families() {
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{24}, std::size_t{6000}, std::size_t{3} << 20}) {
        ::operator delete(filled(::operator new(size), size, 'n'));
        ::operator delete(filled(::operator new(size), size, 'n'), size);
        ::operator delete(filled(::operator new(size, std::nothrow), size, 'n'), std::nothrow);
        ::operator delete[](filled(::operator new[](size), size, 'n'));
        ::operator delete[](filled(::operator new[](size), size, 'n'), size);
        ::operator delete[](filled(::operator new[](size, std::nothrow), size, 'n'));
    }
    struct Destroyed {
        std::string text = std::string(100, 'd');
    };
    delete[] new Destroyed[17];
    struct alignas(128) Wide {
        char bytes[128];
        ~Wide() { bytes[0] = 0; }
    };
    delete new Wide;
    delete[] new Wide[5];
    ::operator delete(nullptr);
    ::operator delete[](nullptr);
}

void realloc_all_ways() {
    const std::size_t sizes[] = {1, 24, 100, 1000, 6000, 70000, 300 << 10, 3 << 20, 80 << 20};
    for (const std::size_t from : sizes)
        for (const std::size_t to : sizes) {
            char* block = filled(std::malloc(from), from, 'r');
            block = static_cast<char*>(std::realloc(block, to));
            must(block != nullptr && block[0] == 'r' && block[((from < to ? from : to) - 1) / 64 * 64] == 'r', "realloc's content");
            filled(block, to, 's');
            std::free(block);
        }
    must(std::realloc(std::malloc(100), 0) == nullptr, "realloc to nothing");
    std::free(filled(::reallocarray(nullptr, 10, 10), 100, 'a'));
}

void calloc_is_zero() {
    for (int round = 0; round < 3; ++round)
        for (const std::size_t size :
             {std::size_t{24}, std::size_t{1000}, std::size_t{6000}, std::size_t{300} << 10, std::size_t{3} << 20}) {
            char* const block = static_cast<char*>(std::calloc(size / 8, 8));
            for (std::size_t i = 0; i < size; ++i) must(block[i] == 0, "zero");
            std::memset(block, 'c', size);
            std::free(block);
        }
    volatile std::size_t impossible = SIZE_MAX / 2;
    must(std::calloc(impossible, 3) == nullptr, "calloc of too much");
}

void usable_size() {
    for (std::size_t size = 0; size < 40000; size = size * 5 / 4 + 1) {
        char* const block = static_cast<char*>(std::malloc(size));
        const std::size_t usable = ::malloc_usable_size(block);
        must(usable >= size, "usable size");
        std::memset(block, 'u', usable);
        std::free(block);
    }
    must(::malloc_usable_size(nullptr) == 0, "usable size of nothing");
}

void zero_sizes() {
    void* const blocks[] = {std::malloc(0), std::malloc(0), std::calloc(0, 8), std::calloc(8, 0), ::aligned_alloc(64, 0)};
    must(blocks[0] != nullptr && blocks[0] != blocks[1], "distinct");
    for (void* const block : blocks) std::free(block);
    std::free(nullptr);
}

void library_strings() {
    char *line = nullptr, *printed = nullptr, *in_memory = nullptr;
    std::size_t room = 0, size = 0;
    FILE* const file = std::tmpfile();
    for (int i = 0; i < 100; ++i) std::fprintf(file, "%0*d\n", i * 10 + 1, i);
    std::rewind(file);
    int lines = 0;
    while (::getline(&line, &room, file) > 0) ++lines;
    std::free(line);
    std::fclose(file);
    must(lines == 100 && ::asprintf(&printed, "%500d", 1) == 500, "getline and asprintf");
    std::free(printed);
    std::free(::strdup("strdup"));
    std::free(::strndup("strndup", 3));
    FILE* const memory = ::open_memstream(&in_memory, &size);
    for (int i = 0; i < 1000; ++i) std::fprintf(memory, "%d", i);
    std::fclose(memory);
    must(size == 2890, "open_memstream");
    std::free(in_memory);
    std::free(::realpath("/", nullptr));
}

void big_in_loops() {
    for (int i = 0; i < 30; ++i) {
        char* const blocks[] = {filled(std::malloc(std::size_t{3} << 20), 4096, 'b'),
                                filled(std::malloc(std::size_t{80} << 20), 4096, 'b')};
        for (char* const block : blocks) std::free(block);
    }
}

/// std::free in another order than malloc's, many times over, so that quarantines fill and empty.
void churn() {
    std::vector<std::pair<char*, std::size_t>> live(500);
    unsigned random = 1;
    for (int i = 0; i < 30000; ++i) {
        random = random * 1664525 + 1013904223;
        auto& [block, size] = live[(random >> 8) % live.size()];
        if (block != nullptr) must(block[0] == 'k' && block[size - 1] == 'k', "content");
        std::free(block);
        size = (random >> 16) % 2000 + 1;
        block = filled(std::malloc(size), size, 'k');
        block[size - 1] = 'k';
    }
    for (const auto& entry : live) std::free(entry.first);
}

void environment() {
    for (int i = 0; i < 100; ++i) {
        const std::string name = "DETECT_" + std::to_string(i % 10), value(static_cast<std::size_t>(i), 'v');
        must(::setenv(name.c_str(), value.c_str(), 1) == 0 && std::getenv(name.c_str()) == value, "setenv");
    }
    // The environment keeps this one.
    must(::putenv(::strdup("DETECT_PUT=1")) == 0 && ::unsetenv("DETECT_3") == 0, "putenv");
}

constexpr CleanCase cases[] = {
    {"containers", containers},         {"strings", strings},
    {"exceptions", exceptions},         {"aligned_families", aligned_families},
    {"new_families", new_families},     {"realloc_all_ways", realloc_all_ways},
    {"calloc_is_zero", calloc_is_zero}, {"usable_size", usable_size},
    {"zero_sizes", zero_sizes},         {"library_strings", library_strings},
    {"big_in_loops", big_in_loops},     {"churn", churn},
    {"environment", environment},
};

}  // namespace

CleanCases clean_memory_cases() { return {cases, std::size(cases)}; }

}  // namespace mpmm::detect
