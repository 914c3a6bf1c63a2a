// SPDX-License-Identifier: Apache-2.0
// Where pointers to blocks are found, and where they must not be. The blocks lie in an arena that plays the allocator's memory.
#include "platform/roots.hpp"

#include "support/arena_finder.hpp"

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <functional>
#include <gtest/gtest.h>
#include <pthread.h>
#include <string>
#include <sys/mman.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace mpmm {
namespace {

using stop_world::Result;
using test::ArenaCheck;
using test::ArenaFinder;

/// A word that is written, and not kept anywhere else: the address is known to the tests as its complement.
[[gnu::noinline]] void put(volatile std::uintptr_t* where, std::uintptr_t secret) {
    *where = ~secret;
    // The registers that computed it.
#if defined(__x86_64__)
    asm volatile("xorl %%eax, %%eax\n xorl %%esi, %%esi\n xorl %%edx, %%edx\n xorl %%ecx, %%ecx" ::: "rax", "rsi", "rdx", "rcx");
#endif
}

/// Overwrites what earlier calls left below.
[[gnu::noinline]] void scrub() {
    volatile char bytes[32768];
    for (volatile char& byte : bytes) byte = 0;
}

/// Fills a frame deep below with the pointer, and comes back. The first kilobytes stay free: what calls this will be stopped in a call
/// itself, whose red zone counts as in use.
[[gnu::noinline]] void leave_below(std::uintptr_t secret) {
    volatile std::uintptr_t words[8192];
    for (int i = 0; i < 6144; ++i) put(words + i, secret);
    put(words + 8191, 0);
}

void* map(std::size_t size, int flags = MAP_PRIVATE | MAP_ANONYMOUS) { return mmap(nullptr, size, PROT_READ | PROT_WRITE, flags, -1, 0); }

class Roots : public testing::Test {
  protected:
    static void SetUpTestSuite() {
        arena_ = new ArenaFinder(8, 256, 4 << 20);
        // Once and from here: computing one leaves the pointer in the frames of those who do.
        for (std::uint32_t i = 0; i < 8; ++i) secrets_[i] = ~(arena_->base() + i * 256 + 8);
    }
    static void TearDownTestSuite() { delete arena_; }
    void SetUp() override {
        scrub();
        check();
        if (result_ != Result::stopped) GTEST_SKIP() << "threads cannot be traced here";
        for (std::uint32_t i = 0; i < 8; ++i) ASSERT_EQ((*arena_)[i], Reach::direct) << "not even used yet";
    }
    static std::uintptr_t secret(std::uint32_t index) { return secrets_[index]; }
    static bool found(std::uint32_t index) {
        check();
        return (*arena_)[index] == Reach::reachable;
    }
    static void check() {
        ArenaCheck check(*arena_);
        check.run();
        result_ = check.result;
        ASSERT_TRUE(check.visited);
    }

    /// A thread that runs `body`, which waits in wait().
    struct Worker {
        explicit Worker(std::function<void(Worker&)> body) : body_(std::move(body)) {
            pthread_create(
                &thread_, nullptr,
                [](void* self) -> void* { return static_cast<Worker*>(self)->body_(*static_cast<Worker*>(self)), nullptr; }, this);
            while (!waits) usleep(100);
            usleep(1000);
        }
        ~Worker() {
            end = true;
            pthread_join(thread_, nullptr);
        }
        void wait() {
            waits = true;
            while (!end) usleep(1000);
        }
        std::atomic<bool> waits{false}, end{false};

      private:
        std::function<void(Worker&)> body_;
        pthread_t thread_;
    };

    static inline ArenaFinder* arena_;
    static inline std::uintptr_t secrets_[8];
    static inline Result result_;
};

#if defined(__x86_64__)
TEST_F(Roots, CalleeSavedRegister) {
    Worker worker([](Worker& self) {
        const std::uintptr_t hidden = secret(1);
        asm volatile(
            "movq %1, %%r12\n"
            "notq %%r12\n"
            "movb $1, (%0)\n"
            "1: cmpb $0, (%2)\n"
            "je 1b\n"
            "xorl %%r12d, %%r12d\n" ::"r"(&self.waits),
            "r"(hidden), "r"(&self.end)
            : "r12", "memory");
    });
    EXPECT_TRUE(found(1));
    EXPECT_FALSE(found(2));
}

TEST_F(Roots, VectorRegister) {
    Worker worker([](Worker& self) {
        const std::uintptr_t hidden = secret(1);
        asm volatile(
            "movq %1, %%rax\n"
            "notq %%rax\n"
            "movq %%rax, %%xmm11\n"
            "xorl %%eax, %%eax\n"
            "movb $1, (%0)\n"
            "1: cmpb $0, (%2)\n"
            "je 1b\n"
            "pxor %%xmm11, %%xmm11\n" ::"r"(&self.waits),
            "r"(hidden), "r"(&self.end)
            : "rax", "xmm11", "memory");
    });
    EXPECT_TRUE(found(1));
}

TEST_F(Roots, RedZone) {
    Worker worker([](Worker& self) {
        const std::uintptr_t hidden = secret(1);
        asm volatile(
            "movq %1, %%rax\n"
            "notq %%rax\n"
            "movq %%rax, -120(%%rsp)\n"
            "xorl %%eax, %%eax\n"
            "movb $1, (%0)\n"
            "1: cmpb $0, (%2)\n"
            "je 1b\n"
            "movq $0, -120(%%rsp)\n" ::"r"(&self.waits),
            "r"(hidden), "r"(&self.end)
            : "rax", "memory");
    });
    EXPECT_TRUE(found(1));
}
#endif

TEST_F(Roots, LiveStackAndWhatIsBelowIt) {
    Worker worker([](Worker& self) {
        leave_below(secret(2));
        volatile std::uintptr_t local[4] = {};
        put(&local[1], secret(1));
        self.wait();
    });
    EXPECT_TRUE(found(1));
    EXPECT_FALSE(found(2));
}

TEST_F(Roots, MainStack) {
    volatile std::uintptr_t local[4] = {};
    put(&local[1], secret(1));
    leave_below(secret(2));
    EXPECT_TRUE(found(1));
    local[1] = 0;
    EXPECT_FALSE(found(1));
    EXPECT_FALSE(found(2));
}

TEST_F(Roots, StacksOfJoinedThreads) {
    pthread_t threads[3];
    for (pthread_t& thread : threads)
        pthread_create(
            &thread, nullptr,
            [](void*) -> void* {
                leave_below(secret(1));
                volatile std::uintptr_t local;
                put(&local, secret(2));
                return reinterpret_cast<void*>(~secret(3));
            },
            nullptr);
    usleep(50000);
    // What waits for pthread_join() is in use; what the stack holds is not.
    EXPECT_TRUE(found(3));
    EXPECT_FALSE(found(1));
    EXPECT_FALSE(found(2));
    for (const pthread_t thread : threads) pthread_join(thread, nullptr);
    EXPECT_FALSE(found(1));
    EXPECT_FALSE(found(2));
    EXPECT_FALSE(found(3));
}

TEST_F(Roots, StackAndArgumentOfDetachedThreads) {
    for (int t = 0; t < 3; ++t) {
        pthread_t thread;
        pthread_create(
            &thread, nullptr, [](void*) -> void* { return leave_below(secret(1)), nullptr; }, reinterpret_cast<void*>(~secret(2)));
        pthread_detach(thread);
    }
    usleep(50000);
    scrub();
    EXPECT_FALSE(found(1));
    EXPECT_FALSE(found(2));
}

thread_local std::uintptr_t thread_word;

TEST_F(Roots, ThreadLocal) {
    Worker worker([](Worker& self) {
        put(&thread_word, secret(1));
        self.wait();
    });
    EXPECT_TRUE(found(1));
    put(&thread_word, secret(2));
    EXPECT_TRUE(found(2));
    thread_word = 0;
    EXPECT_FALSE(found(2));
}

TEST_F(Roots, LibraryLoadedLater) {
    char folder[] = "/tmp/roots_test_XXXXXX";
    ASSERT_NE(mkdtemp(folder), nullptr);
    const std::string base = folder, source = base + "/late.c", library = base + "/late.so";
    FILE* const file = fopen(source.c_str(), "w");
    ASSERT_NE(file, nullptr);
    // Larger than what the linker keeps for late ones, so that each thread allocates its copy.
    fputs(
        "unsigned long zero[100], set[100] = {1};\nstatic __thread unsigned long local[2000];\nunsigned long* get_local(void) { return "
        "local + 1000; }\n",
        file);
    fclose(file);
    const bool compiled = std::system(("cc -shared -fPIC -o " + library + " " + source + " 2>/dev/null").c_str()) == 0;
    void* const handle = compiled ? dlopen(library.c_str(), RTLD_NOW) : nullptr;
    std::system(("rm -r " + base).c_str());
    if (handle == nullptr) GTEST_SKIP() << "no C compiler";
    auto* const zero = static_cast<std::uintptr_t*>(dlsym(handle, "zero"));
    auto* const set = static_cast<std::uintptr_t*>(dlsym(handle, "set"));
    auto* const local = reinterpret_cast<std::uintptr_t* (*)()>(dlsym(handle, "get_local"));
    put(zero + 50, secret(1));
    put(set + 50, secret(2));
    {
        Worker worker([&](Worker& self) {
            put(local(), secret(3));
            self.wait();
            *local() = 0;  // the linker does not clear what it frees
        });
        put(local(), secret(4));
        check();
        for (const int i : {1, 2, 3, 4}) EXPECT_EQ((*arena_)[i], Reach::reachable) << i;
    }
    zero[50] = set[50] = *local() = 0;
    check();
    for (const int i : {1, 2, 4}) EXPECT_EQ((*arena_)[i], Reach::direct) << i;
}

TEST_F(Roots, FiberStackWithGuardPage) {
    constexpr std::size_t size = 256 << 10;
    auto* const stack = static_cast<char*>(map(size));
    mprotect(stack, 4096, PROT_NONE);
    // Anywhere: where a fiber that does not run stands is not known.
    put(reinterpret_cast<std::uintptr_t*>(stack + size - 512), secret(1));
    put(reinterpret_cast<std::uintptr_t*>(stack + 4096), secret(2));
    check();
    EXPECT_EQ((*arena_)[1], Reach::reachable);
    EXPECT_EQ((*arena_)[2], Reach::reachable);
    munmap(stack, size);
}

TEST_F(Roots, StackInsideOfTheProgramsOwnMapping) {
    constexpr std::size_t size = 4 << 20, stack_at = 2 << 20, stack_size = 256 << 10;
    auto* const memory = static_cast<char*>(map(size));
    mprotect(memory, 4096, PROT_NONE);
    put(reinterpret_cast<std::uintptr_t*>(memory + 8192), secret(1));
    put(reinterpret_cast<std::uintptr_t*>(memory + stack_at - 8), secret(2));
    put(reinterpret_cast<std::uintptr_t*>(memory + stack_at + stack_size), secret(3));
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    ASSERT_EQ(pthread_attr_setstack(&attributes, memory + stack_at, stack_size), 0);
    static std::atomic<int> phase;
    phase = 0;
    pthread_t thread;
    pthread_create(
        &thread, &attributes,
        [](void*) -> void* {
            leave_below(secret(5));
            volatile std::uintptr_t local;
            put(&local, secret(4));
            phase = 1;
            while (phase != 2) usleep(1000);
            return nullptr;
        },
        nullptr);
    while (phase != 1) usleep(1000);
    usleep(1000);
    check();
    for (const int i : {1, 2, 3, 4}) EXPECT_EQ((*arena_)[i], Reach::reachable) << i;
    EXPECT_EQ((*arena_)[5], Reach::direct);
    phase = 2;
    pthread_join(thread, nullptr);
    pthread_attr_destroy(&attributes);
    munmap(memory, size);
}

TEST_F(Roots, BehindAHandlerOnItsOwnStack) {
    static Worker* current;
    Worker worker([](Worker& self) {
        current = &self;
        constexpr std::size_t size = 64 << 10;
        stack_t other{};
        other.ss_sp = map(size);
        other.ss_size = size;
        sigaltstack(&other, nullptr);
        struct sigaction action{};
        action.sa_flags = SA_ONSTACK;
        action.sa_handler = [](int) { current->wait(); };
        sigaction(SIGUSR2, &action, nullptr);
        volatile std::uintptr_t local[8192];  // far from what is always in use
        put(local, secret(1));
        pthread_kill(pthread_self(), SIGUSR2);
        local[0] = 0;
        other.ss_flags = SS_DISABLE;
        sigaltstack(&other, nullptr);
    });
    EXPECT_TRUE(found(1));
}

TEST_F(Roots, StackOfAThreadThatNobodyCanStop) {
    Worker worker([](Worker& self) {
        volatile std::uintptr_t local;
        put(&local, secret(1));
        self.waits = true;
        const pid_t child = vfork();
        if (child == 0) {
            usleep(700000);
            _exit(0);
        }
        waitpid(child, nullptr, 0);
        local = 0;
    });
    EXPECT_TRUE(found(1));
}

TEST_F(Roots, MappingsOfAllKinds) {
    auto* const shared = static_cast<std::uintptr_t*>(map(4096, MAP_SHARED | MAP_ANONYMOUS));
    auto* const constant = static_cast<std::uintptr_t*>(map(4096));
    auto* const closed = static_cast<std::uintptr_t*>(map(4096));
    const int file = open("/proc/self/exe", O_RDONLY);
    auto* const own_copy = static_cast<std::uintptr_t*>(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0));
    ::close(file);
    put(shared, secret(1));
    put(constant, secret(2));
    mprotect(constant, 4096, PROT_READ);
    put(closed, secret(3));
    mprotect(closed, 4096, PROT_NONE);
    put(own_copy + 600, secret(4));
    check();
    EXPECT_EQ((*arena_)[1], Reach::direct);
    EXPECT_EQ((*arena_)[2], Reach::reachable);
    EXPECT_EQ((*arena_)[3], Reach::direct);
    EXPECT_EQ((*arena_)[4], Reach::reachable);
    munmap(shared, 4096), munmap(constant, 4096), munmap(closed, 4096), munmap(own_copy, 8192);
}

TEST_F(Roots, PagesThatFaultInsideOfAReadableMapping) {
    constexpr int guard_install = 102;  // MADV_GUARD_INSTALL, Linux 6.13
    auto* const memory = static_cast<char*>(map(1 << 20));
    std::memset(memory, 1, 1 << 20);
    if (madvise(memory + 8192, 4096, guard_install) != 0) GTEST_SKIP() << "no such advice";
    put(reinterpret_cast<std::uintptr_t*>(memory), secret(1));
    put(reinterpret_cast<std::uintptr_t*>(memory + 12288), secret(2));
    check();
    EXPECT_EQ((*arena_)[1], Reach::reachable);
    EXPECT_EQ((*arena_)[2], Reach::reachable);
    munmap(memory, 1 << 20);
}

TEST_F(Roots, HugeReservationsCostNothing) {
    constexpr std::size_t size = std::size_t{sizeof(void*) == 8 ? 256 : 1} << 30;
    auto* const memory = static_cast<char*>(map(size, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE));
    ASSERT_NE(static_cast<void*>(memory), MAP_FAILED);
    put(reinterpret_cast<std::uintptr_t*>(memory + size / 2), secret(1));
    const auto from = std::chrono::steady_clock::now();
    EXPECT_TRUE(found(1));
    EXPECT_LT(std::chrono::steady_clock::now() - from, std::chrono::seconds(5));
    munmap(memory, size);
}

TEST_F(Roots, NeighboursOfTheAllocatorsMemory) {
    const std::uintptr_t begin = arena_->base(), end = begin + arena_->size();
    put(reinterpret_cast<std::uintptr_t*>(begin - 8), secret(1));
    put(reinterpret_cast<std::uintptr_t*>(end), secret(2));
    put(&arena_->at(5, 0), secret(3));
    check();
    EXPECT_EQ((*arena_)[1], Reach::reachable);
    EXPECT_EQ((*arena_)[2], Reach::reachable);
    EXPECT_EQ((*arena_)[5], Reach::direct);
    EXPECT_EQ((*arena_)[3], Reach::indirect);
    *reinterpret_cast<std::uintptr_t*>(begin - 8) = *reinterpret_cast<std::uintptr_t*>(end) = arena_->at(5, 0) = 0;
}

}  // namespace
}  // namespace mpmm
