// SPDX-License-Identifier: Apache-2.0
// What a debugger may set: functions to call instead of printing. They belong to the process, so each test sets them in a forked child. And
// the leak check's answer where there is none.
#include "api/api_support.hpp"
#include "api/child.hpp"
#include "support/emulator.hpp"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sys/resource.h>

namespace mpmm::test {
namespace {

using ::testing::ExitedWithCode;
using ::testing::HasSubstr;
using ::testing::KilledBySignal;

/// What the callbacks were told. They must not allocate: all of it is static.
struct Told {
    unsigned messages = 0, warnings = 0, errors = 0;
    char text[64 * 1024] = "";
    char kind[64] = "";
    const void* address = nullptr;
    const void* block = nullptr;
    std::size_t block_size = 0, struct_size = 0;

    void keep(const char* said) { std::strncpy(text, said, sizeof text - 1); }
};
Told told;

bool says(const char* part) { return std::strstr(told.text, part) != nullptr; }

void on_message(void* context, const char* text) {
    ++static_cast<Told*>(context)->messages;
    static_cast<Told*>(context)->keep(text);
}
void on_warning(void* context, const char* text) {
    ++static_cast<Told*>(context)->warnings;
    static_cast<Told*>(context)->keep(text);
}
void on_error(void* context, const mpmm_debugger_error* error) {
    Told& told_now = *static_cast<Told*>(context);
    ++told_now.errors;
    told_now.keep(error->report);
    std::strncpy(told_now.kind, error->kind, sizeof told_now.kind - 1);
    told_now.address = error->address;
    told_now.block = error->block;
    told_now.block_size = error->block_size;
    told_now.struct_size = error->struct_size;
}

mpmm_debugger_callbacks all_callbacks() { return {sizeof(mpmm_debugger_callbacks), &told, &on_message, &on_warning, &on_error}; }
void set(const mpmm_debugger_callbacks& callbacks) { CHILD_CHECK(mpmm_debugger_set_callbacks(&callbacks) == 0); }
void go_on() { CHILD_CHECK(mpmm_set_option("halt_on_error", "0") == 0); }

TEST(Debugger, ErrorsAreToldInsteadOfPrinted) {
    EXPECT_EXIT(
        {
            go_on();
            set(all_callbacks());
            void* const block = mpmm_malloc(100);
            mpmm_free(block, 100);
            errno = 77;
            mpmm_free(block, 100);
            CHILD_CHECK(errno == 77);
            CHILD_CHECK(told.errors == 1 && told.messages == 0 && told.warnings == 0);
            CHILD_CHECK(std::strcmp(told.kind, "double-free") == 0);
            CHILD_CHECK(told.address == block);
            CHILD_CHECK(told.struct_size == sizeof(mpmm_debugger_error));
            // The text as it would have been printed: release knows the address, verify knows the block.
            CHILD_CHECK(says("ERROR: mpmm: double-free on address 0x"));
            CHILD_CHECK(told.block == (verify_build ? block : nullptr));
            CHILD_CHECK(told.block_size == (verify_build ? 100u : 0u));
            CHILD_CHECK(says("previously allocated by thread") == verify_build);
            CHILD_CHECK(says("SUMMARY: mpmm: double-free") == verify_build);
            int local = 0;
            mpmm_free_unsized(&local);
            CHILD_CHECK(told.errors == 2 && std::strcmp(told.kind, "invalid-free") == 0);
            CHILD_CHECK(told.address == &local && told.block == nullptr && told.block_size == 0);
            CHILD_CHECK(mpmm_verify_heap() == 0);
            child_done();
        },
        ExitedWithCode(0), "^$");
}

/// Release has none, whatever the option says.
TEST(Debugger, VerifysReportEndsWithTheLastOperations) {
    EXPECT_EXIT(
        {
            go_on();
            set(all_callbacks());
            mpmm_free_unsized(&told);
            CHILD_CHECK(!says(" operations, oldest first"));
            CHILD_CHECK(mpmm_set_option("trace_ops", "4") == 0);
            mpmm_free_unsized(&told);
            CHILD_CHECK(!says(" operations, oldest first"));
            void* block = mpmm_malloc(100);
            mpmm_free_unsized(&told);
            CHILD_CHECK(says("Last 1 operations, oldest first (number, thread, operation):\n") == verify_build);
            CHILD_CHECK(says(" allocate 100 = 0x") == verify_build);
            for (int i = 0; i < 5; ++i) block = mpmm_realloc(block, 100 + static_cast<std::size_t>(i), 101 + static_cast<std::size_t>(i));
            mpmm_free(block, 105);
            mpmm_free_unsized(&told);
            CHILD_CHECK(told.errors == 4 && !says(" allocate ") && !says(" 102 = 0x"));
            for (const char* const line :
                 {"Last 4 operations, oldest first (number, thread, operation):\n", " realloc 0x", " 103 = 0x", " 105 = 0x", " free 0x"})
                CHILD_CHECK(says(line) == verify_build);
            child_done();
        },
        ExitedWithCode(0), "^$");
}

TEST(Debugger, HaltOnErrorAppliesAfterwards) {
    EXPECT_EXIT(
        {
            set(all_callbacks());
            mpmm_free_unsized(&told);
        },
        KilledBySignal(SIGABRT), std::string("^") + death_note + "$");
    EXPECT_EXIT(
        {
            CHILD_CHECK(mpmm_set_option("exitcode", "3") == 0);
            mpmm_debugger_callbacks callbacks = all_callbacks();
            callbacks.error = [](void*, const mpmm_debugger_error*) { CHILD_CHECK(::write(2, "told\n", 5) == 5); };
            set(callbacks);
            mpmm_free_unsized(&told);
        },
        ExitedWithCode(3), "^told\n$");
}

TEST(Debugger, WarningsAreToldInsteadOfPrinted) {
    EXPECT_EXIT(
        {
            set(all_callbacks());
            CHILD_CHECK(mpmm_set_option("nonsense", "1") == EINVAL);
            CHILD_CHECK(told.warnings == 1 && told.errors == 0 && told.messages == 0);
            CHILD_CHECK(says("'nonsense'"));
            CHILD_CHECK(std::strchr(told.text, '\n') == nullptr);
            CHILD_CHECK(mpmm_set_option("exitcode", "300") == EINVAL);
            CHILD_CHECK(told.warnings == 2 && says("'exitcode'"));
            child_done();
        },
        ExitedWithCode(0), "^$");
}

#if defined(MPMM_TEST_VERIFY) && !defined(MPMM_TEST_SANITIZED)
/// Bytes of addresses the process has.
std::size_t address_space() {
    std::size_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    return pages * mpmm_backend_page_size();
}
/// Guarded blocks need addresses; without, the program goes on, and is told once.
void guard_without_addresses() {
    void* const before = mpmm_malloc(100);
    mpmm_free(before, 100);
    const rlimit limit{address_space() + (32 << 20), RLIM_INFINITY};
    CHILD_CHECK(::setrlimit(RLIMIT_AS, &limit) == 0);
    CHILD_CHECK(mpmm_set_option("guard_sample_rate", "1") == 0);
    for (int i = 0; i < 10; ++i) {
        void* const block = mpmm_malloc(100);
        CHILD_CHECK(block != nullptr);
        mpmm_free(block, 100);
    }
}
TEST(Debugger, MessagesAreToldInsteadOfPrinted) {
    EXPECT_EXIT(
        {
            set(all_callbacks());
            guard_without_addresses();
            CHILD_CHECK(told.messages == 1 && told.warnings == 0 && told.errors == 0);
            CHILD_CHECK(says("guarded blocks: "));
            child_done();
        },
        ExitedWithCode(0), "^$");
    EXPECT_EXIT(
        {
            guard_without_addresses();
            child_done();
        },
        ExitedWithCode(0), "^mpmm: guarded blocks: [^\n]*\n$");
}

/// What a report let the program do to guarded memory is undone before somebody else gets it.
void touch_guarded_memory_and_use_it_again() {
    go_on();
    set(all_callbacks());
    // A store changes it.
    const volatile unsigned& errors = told.errors;
    // The fewer addresses, the sooner they are used again.
    const rlimit limit{std::size_t{2} << 30, RLIM_INFINITY};
    CHILD_CHECK(::setrlimit(RLIMIT_AS, &limit) == 0);
    CHILD_CHECK(mpmm_set_option("guard_sample_rate", "1") == 0);
    auto* const block = static_cast<volatile char*>(mpmm_malloc(64));
    block[64] = 1;
    mpmm_free(const_cast<char*>(block), 64);
    block[0] = 1;
    CHILD_CHECK(errors == 2);
    void* again = nullptr;
    for (int i = 0; i < 20000 && again != block; ++i) {
        again = mpmm_zalloc(64);
        if (again != block) mpmm_free(again, 64);
    }
    CHILD_CHECK(again == block && block[0] == 0 && errors == 2);
    block[64] = 1;
    CHILD_CHECK(errors == 3);
}
TEST(Debugger, WhatWasTouchedIsGuardedAndZeroForItsNextUser) {
    EXPECT_EXIT(
        {
            touch_guarded_memory_and_use_it_again();
            child_done();
        },
        ExitedWithCode(0), "^$");
}

TEST(Debugger, TheReportIsJsonWhenThatIsTheFormat) {
    EXPECT_EXIT(
        {
            go_on();
            CHILD_CHECK(mpmm_set_option("report_format", "json") == 0);
            set(all_callbacks());
            void* const block = mpmm_malloc(100);
            mpmm_free(block, 99);
            CHILD_CHECK(told.errors == 1 && std::strcmp(told.kind, "size-mismatch") == 0);
            CHILD_CHECK(told.block == block && told.block_size == 100);
            CHILD_CHECK(told.text[0] == '{' && says("size-mismatch"));
            child_done();
        },
        ExitedWithCode(0), "^$");
}
#endif

TEST(Debugger, MissingCallbacksPrint) {
    EXPECT_EXIT(
        {
            go_on();
            mpmm_debugger_callbacks callbacks = all_callbacks();
            callbacks.error = nullptr;
            set(callbacks);
            mpmm_free_unsized(&told);
            CHILD_CHECK(told.errors == 0 && told.warnings == 0);
            child_done();
        },
        ExitedWithCode(0), "ERROR: mpmm: invalid-free on address 0x");
    EXPECT_EXIT(
        {
            mpmm_debugger_callbacks callbacks = all_callbacks();
            callbacks.warning = nullptr;
            set(callbacks);
            CHILD_CHECK(mpmm_set_option("nonsense", "1") == EINVAL);
            CHILD_CHECK(told.errors == 0 && told.warnings == 0 && told.messages == 0);
            child_done();
        },
        ExitedWithCode(0), "ERROR: mpmm: option: unknown key 'nonsense'");
}

TEST(Debugger, NullGoesBackToPrinting) {
    EXPECT_EXIT(
        {
            go_on();
            set(all_callbacks());
            CHILD_CHECK(mpmm_debugger_set_callbacks(nullptr) == 0);
            mpmm_free_unsized(&told);
            CHILD_CHECK(mpmm_set_option("nonsense", "1") == EINVAL);
            CHILD_CHECK(told.errors == 0 && told.warnings == 0 && told.messages == 0);
            child_done();
        },
        ExitedWithCode(0), ::testing::AllOf(HasSubstr("invalid-free"), HasSubstr("'nonsense'")));
}

TEST(Debugger, ASmallStructIsRefusedAndChangesNothing) {
    EXPECT_EXIT(
        {
            go_on();
            set(all_callbacks());
            mpmm_debugger_callbacks older{};
            for (const std::size_t size : {std::size_t{0}, sizeof older - 1}) {
                older.struct_size = size;
                CHILD_CHECK(mpmm_debugger_set_callbacks(&older) == EINVAL);
            }
            mpmm_free_unsized(&told);
            CHILD_CHECK(told.errors == 1);
            struct {
                mpmm_debugger_callbacks known = all_callbacks();
                void (*later)() = nullptr;
            } longer;
            longer.known.struct_size = sizeof longer;
            CHILD_CHECK(mpmm_debugger_set_callbacks(&longer.known) == 0);
            mpmm_free_unsized(&told);
            CHILD_CHECK(told.errors == 2);
            child_done();
        },
        ExitedWithCode(0), "^$");
}

/// A backend's misbehaviour is no error of the program's: a warning.
TEST(Debugger, BackendsAreWarnedOf) {
    EXPECT_EXIT(
        {
            mpmm_backend backend{};
            backend.struct_size = sizeof backend;
            backend.allocate = [](void*, std::size_t, std::size_t) -> void* { return reinterpret_cast<void*>(std::uintptr_t{12345}); };
            backend.deallocate = [](void*, void*, std::size_t) { return -1; };
            set(all_callbacks());
            mpmm_options options{};
            options.struct_size = sizeof options;
            options.backend = &backend;
            CHILD_CHECK(mpmm_init(&options) == 0);
            CHILD_CHECK(mpmm_malloc(100) == nullptr);
            CHILD_CHECK(told.warnings > 0 && told.errors == 0 && says("backend returned"));
            child_done();
        },
        ExitedWithCode(0), "^$");
}

TEST(Debugger, ReleaseKnowsNoLeaks) {
    EXPECT_EXIT(
        {
            errno = 0;
            void* volatile const block = mpmm_malloc(100);
            CHILD_CHECK(mpmm_leak_check() == 0);
            CHILD_CHECK((errno == ENOSYS) == !verify_build);
            mpmm_free(block, 100);
            child_done();
        },
        ExitedWithCode(0), "^$");
}

}  // namespace
}  // namespace mpmm::test
