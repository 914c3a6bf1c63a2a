// SPDX-License-Identifier: Apache-2.0
// stress_child CASE [PLUGIN]: whole-process stress over malloc and free. Prints "good" when everything held.
#include "malloc/child_check.h"
#include "mpmm/mpmm.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <iterator>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <map>
#include <pthread.h>
#include <string>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

int failed_checks = 0;

namespace {

bool is_verify() {
#ifdef MPMM_TEST_LINKED
    return std::strstr(mpmm_version(), "+verify") != nullptr;
#else
    auto* const version = reinterpret_cast<decltype(&mpmm_version)>(::dlsym(RTLD_DEFAULT, "mpmm_version"));
    return version != nullptr && std::strstr(version(), "+verify") != nullptr;
#endif
}

bool heap_is_whole() {
    // The library exports its C API as well.
#ifdef MPMM_TEST_LINKED
    return mpmm_verify_heap() == 0;
#else
    auto* const verify = reinterpret_cast<decltype(&mpmm_verify_heap)>(::dlsym(RTLD_DEFAULT, "mpmm_verify_heap"));
    return verify != nullptr && verify() == 0;
#endif
}

struct Memory {
    std::size_t mapped = 0, resident = 0;
};
Memory memory() {
    unsigned long total = 0, pages = 0;
    std::FILE* const file = std::fopen("/proc/self/statm", "r");
    CHECK(file != nullptr && std::fscanf(file, "%lu %lu", &total, &pages) == 2);
    if (file != nullptr) std::fclose(file);
#ifdef MPMM_TEST_EMULATOR
    pages = 0;  // it would be the emulator's
#endif
    return {total * 4096, pages * 4096};
}
std::size_t resident() { return memory().resident; }
std::size_t mapped() { return memory().mapped; }

/// Strings and maps, as programs use memory; true when all of it was right.
bool use_memory(unsigned seed) {
    std::map<std::string, std::vector<std::string>> map;
    for (unsigned i = 0; i < 100; ++i) map[std::to_string(seed * i % 37)].emplace_back(i * 7 % 900, static_cast<char>('a' + i % 26));
    std::size_t sum = 0;
    for (const auto& [key, strings] : map)
        for (const std::string& string : strings)
            sum += static_cast<std::size_t>(std::count(string.begin(), string.end(), string.empty() ? 0 : string[0]));
    std::size_t expected = 0;
    for (unsigned i = 0; i < 100; ++i) expected += i * 7 % 900;
    return sum == expected;
}

// ---- fork ----

void fork_with_threads() {
    std::atomic<bool> over{false};
    std::atomic<int> wrong{0};
    static std::array<std::atomic<std::string*>, 32> table;
    std::vector<std::thread> running;
    for (unsigned number = 1; number <= 3; ++number)
        running.emplace_back([&, number] {
            for (unsigned i = number; !over.load(); ++i) {
                wrong += !use_memory(i);
                delete table[i % table.size()].exchange(new std::string(i % 5000, 'x'));
            }
        });
    for (unsigned repeat = 0; repeat < 150; ++repeat) {
        std::vector<std::string> inherited;
        for (std::size_t i = 0; i < 100; ++i) inherited.emplace_back(i * i, 'i');
        const pid_t child = ::fork();
        if (child == 0) {
            ::alarm(20);
            inherited.clear();
            inherited.shrink_to_fit();
            bool good = use_memory(repeat);
            std::thread one([&] { good = good && use_memory(repeat + 1); });
            one.join();
            std::thread two([&] { good = good && use_memory(repeat + 2); });
            two.join();
            good = good && heap_is_whole();
            // Sometimes the long way out, through atexit and the libraries' destructors.
            if (good && repeat % 4 == 0) std::exit(0);
            ::_exit(good ? 0 : 1);
        }
        CHECK(child > 0);
        wrong += !use_memory(repeat);
        int status = 0;
        CHECK(::waitpid(child, &status, 0) == child);
        if (status != 0) {
            std::fprintf(stderr, "child %u: status %x\n", repeat, static_cast<unsigned>(status));
            ++failed_checks;
            break;
        }
    }
    over.store(true);
    for (std::thread& thread : running) thread.join();
    for (auto& slot : table) delete slot.exchange(nullptr);
    CHECK(wrong.load() == 0);
}

// ---- late calls ----

/// Allocates when it dies, and frees what the thread allocated when it lived.
struct LateUser {
    std::string text = std::string(500, 't');
    ~LateUser() {
        void* blocks[100];
        for (std::size_t i = 0; i < 100; ++i) CHECK((blocks[i] = std::malloc(i * 50)) != nullptr);
        for (void* const block : blocks) std::free(block);
        CHECK(text.size() == 500);
        text.assign(5000, 'u');
    }
};
thread_local LateUser late_user;
LateUser static_user;
pthread_key_t late_key;

/// Runs after the allocator's own thread hook too: as often as the system lets it.
void late_destructor(void* value) {
    auto* const text = static_cast<std::string*>(value);
    const std::size_t round = text->size() % 10;
    CHECK(use_memory(static_cast<unsigned>(round)));
    if (round < 3) ::pthread_setspecific(late_key, new std::string(100 + round + 1, 'k'));
    delete text;
}

void late_calls() {
    CHECK(::pthread_key_create(&late_key, &late_destructor) == 0);
    std::atexit([] {
        CHECK(use_memory(5));
        if (failed_checks != 0) ::_exit(1);
    });
    std::vector<void*> left(4000);
    for (std::size_t round = 0; round < 50; ++round) {
        std::vector<std::thread> running;
        for (std::size_t t = 0; t < 4; ++t)
            running.emplace_back([&, t] {
                CHECK(late_user.text[0] == 't');
                ::pthread_setspecific(late_key, new std::string(100, 'k'));
                for (std::size_t i = 0; i < 20; ++i) left[(round * 4 + t) * 20 + i] = std::malloc(i * 30);
            });
        for (std::thread& thread : running) thread.join();
    }
    for (void* const block : left) std::free(block);
    CHECK(late_user.text.size() == 500 && static_user.text.size() == 500);
    CHECK(heap_is_whole());
}

// ---- limits ----

void address_space_limit() {
    rlimit old_limit{};
    CHECK(::getrlimit(RLIMIT_AS, &old_limit) == 0);
    unsigned long pages = 0;
    if (std::FILE* const file = std::fopen("/proc/self/statm", "r"); file != nullptr) {
        CHECK(std::fscanf(file, "%lu", &pages) == 1);
        std::fclose(file);
    }
    rlimit limit = old_limit;
    limit.rlim_cur = pages * 4096 + (std::size_t{200} << 20);
    CHECK(::setrlimit(RLIMIT_AS, &limit) == 0);
    // Verify's redzones and records, and the addresses it reserves for guarded blocks, are taken from the same limit.
    const std::size_t least = (is_verify() ? std::size_t{40} : std::size_t{80}) << 20;
    constexpr std::size_t most = 2000000;
    auto** const blocks = static_cast<void**>(std::malloc(most * sizeof(void*)));
    CHECK(blocks != nullptr);
    std::size_t first_count[5] = {};
    for (int round = 0; round < 3; ++round) {
        std::size_t kind = 0;
        for (const std::size_t size : {200ul, 5000ul, 70000ul, 1000000ul, 10000000ul}) {
            std::size_t count = 0;
            for (errno = 0; count < most && (blocks[count] = std::malloc(size)) != nullptr; ++count) std::memset(blocks[count], 1, 16);
            CHECK(errno == ENOMEM);
            CHECK(count < most && count * size > least);
            if (round == 0) first_count[kind] = count;
            // No less than the first time: what was freed can be had again, in every size.
            CHECK(count >= first_count[kind] * 9 / 10);
            ++kind;
            errno = 0;
            CHECK(std::calloc(1, std::size_t{1} << 30) == nullptr && errno == ENOMEM);
            errno = 0;
            CHECK(std::realloc(blocks[0], std::size_t{1} << 30) == nullptr && errno == ENOMEM);
            CHECK(*static_cast<char*>(blocks[0]) == 1);
            void* out = nullptr;
            CHECK(::posix_memalign(&out, 4096, std::size_t{1} << 30) == ENOMEM && out == nullptr);
            bool caught = false;
            try {
                char* const impossible = new char[std::size_t{1} << 30];
                ESCAPE(impossible);
                delete[] impossible;
            } catch (const std::bad_alloc&) {
                caught = true;
            }
            CHECK(caught);
            CHECK(heap_is_whole());
            for (std::size_t i = 0; i < count; ++i) std::free(blocks[i]);
            CHECK(heap_is_whole());
        }
    }
    std::free(blocks);
    CHECK(::setrlimit(RLIMIT_AS, &old_limit) == 0);
    void* const big = std::malloc(std::size_t{1} << 30);
    CHECK(big != nullptr);
    std::free(big);
    CHECK(use_memory(1));
}

// ---- systems that refuse ----

/// From now on the system call `number` fails with EPERM, as in a sandbox. False where there are no filters.
bool forbid(unsigned number) {
    sock_filter program[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                             BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
                             BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    const sock_fprog filter{static_cast<unsigned short>(std::size(program)), program};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

/// Peaks of blocks of many sizes, moved as they grow, with what would be given back in between.
void peaks() {
    for (unsigned round = 0; round < 3; ++round) {
        std::vector<std::pair<unsigned char*, std::size_t>> blocks;
        for (std::size_t size = 16; size < (std::size_t{64} << 20); size += size / 3) {
            auto* block = static_cast<unsigned char*>(std::malloc(size));
            CHECK(block != nullptr);
            std::memset(block, static_cast<int>(round + 1), size);
            block = static_cast<unsigned char*>(std::realloc(block, size * 2));
            CHECK(block != nullptr && block[0] == round + 1 && block[size - 1] == round + 1);
            blocks.emplace_back(block, size);
        }
        for (const auto& [block, size] : blocks) CHECK(block[size / 2] == round + 1);
        for (const auto& [block, size] : blocks) std::free(block);
        ::malloc_trim(0);
        CHECK(use_memory(round));
    }
    // What was used before reads as zero when that is asked for, whether or not its pages went.
    for (std::size_t size = 100; size < (std::size_t{8} << 20); size *= 3) {
        const auto* const zeroed = static_cast<unsigned char*>(std::calloc(1, size));
        CHECK(zeroed != nullptr && std::all_of(zeroed, zeroed + size, [](unsigned char byte) { return byte == 0; }));
        std::free(const_cast<unsigned char*>(zeroed));
    }
    CHECK(heap_is_whole());
}

void without_system_call(unsigned number) {
    CHECK(use_memory(5));
    if (!forbid(number)) return;
    peaks();
    // What is refused costs nothing a second time, not even addresses.
    const std::size_t before = mapped();
    peaks();
    CHECK(mapped() <= before + (std::size_t{128} << 20));
}

/// Nothing is open, and nothing can be opened.
void without_descriptors() {
    const int output = ::fcntl(1, F_DUPFD, 100);
    for (int descriptor = 0; descriptor < 1024; ++descriptor)
        if (descriptor != output) ::close(descriptor);
    rlimit none{};
    ::getrlimit(RLIMIT_NOFILE, &none);
    none.rlim_cur = 0;
    CHECK(::setrlimit(RLIMIT_NOFILE, &none) == 0);
    peaks();
    std::thread([] { CHECK(use_memory(6)); }).join();
    // The standard output is gone, and stays so.
    if (failed_checks == 0) CHECK(::write(output, "good\n", 5) == 5);
}

/// A directory without anything is all there is: no /proc, no /dev, no libraries. Only root can have that.
void without_proc(const char* directory) {
    if (::geteuid() == 0) CHECK(::chroot(directory) == 0 && ::chdir("/") == 0 && ::access("/proc/self/maps", R_OK) != 0);
    peaks();
    std::thread([] { CHECK(use_memory(7)); }).join();
}

// ---- dlopen ----

void open_and_close(const char* plugin) {
    for (int round = 0; round < 50; ++round) {
        void* const handle = ::dlopen(plugin, RTLD_NOW | RTLD_LOCAL);
        CHECK(handle != nullptr);
        if (handle == nullptr) return;
        auto* const make = reinterpret_cast<char* (*)(std::size_t)>(::dlsym(handle, "plugin_make"));
        auto* const destroy = reinterpret_cast<void (*)(char*)>(::dlsym(handle, "plugin_destroy"));
        CHECK(make != nullptr && destroy != nullptr);
        // Blocks pass between library and program, and between threads.
        char* const theirs = make(100);
        CHECK(std::strlen(theirs) == 99);
        std::free(theirs);
        std::thread([&] {
            char* const other = make(20000);
            CHECK(std::strlen(other) == 19999);
            destroy(other);
        }).join();
        destroy(static_cast<char*>(std::malloc(77)));
        CHECK(::dlclose(handle) == 0);
    }
    CHECK(heap_is_whole());
}

// ---- threads ----

void ten_thousand_threads() {
    std::size_t early = 0;
    for (int number = 0; number < 10000; number += 4) {
        std::vector<std::thread> running;
        for (unsigned t = 0; t < 4; ++t)
            running.emplace_back([t] {
                const std::vector<std::string> strings(20, std::string(200 + t, 's'));
                CHECK(strings[19].size() == 200 + t);
            });
        for (std::thread& thread : running) thread.join();
        if (number == 1000) early = resident();
    }
    const std::size_t late = resident();
    // Until it is full, what verify withholds grows as well, with a list of it for each thread that ended.
    const std::size_t withheld = is_verify() ? std::size_t{40} << 20 : 0;
    CHECK(late <= early + withheld + (std::size_t{8} << 20));
    CHECK(heap_is_whole());
}

}  // namespace

int main(int argc, char** argv) {
    const std::string name = argc > 1 ? argv[1] : "";
    if (name == "fork") fork_with_threads();
    else if (name == "late") late_calls();
    else if (name == "limit") address_space_limit();
    else if (name == "no_madvise") without_system_call(SYS_madvise);
    else if (name == "no_mremap") without_system_call(SYS_mremap);
    else if (name == "no_mprotect") without_system_call(SYS_mprotect);
    else if (name == "no_descriptors") without_descriptors();
    else if (name == "no_proc" && argc > 2) without_proc(argv[2]);
    else if (name == "dlopen" && argc > 2) open_and_close(argv[2]);
    else if (name == "threads") ten_thousand_threads();
    else return 2;
    if (failed_checks == 0) std::puts("good");
    return failed_checks != 0;
}
