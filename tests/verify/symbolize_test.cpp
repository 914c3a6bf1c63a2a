// SPDX-License-Identifier: Apache-2.0
// Functions and lines of addresses: right answers from good tools, and no harm from bad ones. This file must be compiled with -g; the
// addresses that are looked up are return addresses taken in the functions themselves.
#include "verify/symbolize.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fstream>
#include <string>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <tuple>
#include <unistd.h>
#include <vector>

namespace {

namespace symbolize = mpmm::symbolize;
using Pc = std::uintptr_t;
using Clock = std::chrono::steady_clock;

struct Seen {
    std::size_t index;
    Pc pc;
    std::string function, file;
    unsigned line;
    std::string module;
    Pc offset;
    bool inlined;
};

std::vector<Seen> frames(const std::vector<Pc>& pcs, const char* tool) {
    std::vector<Seen> seen;
    symbolize::all(
        pcs.data(), pcs.size(), tool,
        [](void* context, std::size_t index, const symbolize::Frame& f) {
            static_cast<std::vector<Seen>*>(context)->push_back({index, f.pc, f.function, f.file, f.line, f.module, f.offset, f.inlined});
        },
        &seen);
    return seen;
}

/// Every pc is there, in order, with itself.
void expect_complete(const std::vector<Seen>& seen, const std::vector<Pc>& pcs) {
    std::size_t next = 0;
    for (std::size_t i = 0; i < seen.size(); ++i) {
        ASSERT_LT(next, pcs.size());
        EXPECT_EQ(seen[i].index, next);
        EXPECT_EQ(seen[i].pc, pcs[next]);
        if (!seen[i].inlined) ++next;
    }
    EXPECT_EQ(next, pcs.size());
}

[[gnu::noinline]] Pc return_address() { return reinterpret_cast<Pc>(__builtin_return_address(0)); }

struct Here {
    Pc pc;
    unsigned line;
};

/// Something is left to do after the call, so that it is no jump.
[[gnu::always_inline]] inline Here keep(Here here) {
    asm volatile("" : "+r"(here.pc));
    return here;
}

[[gnu::noinline]] Here in_static() { return keep({return_address(), __LINE__}); }
[[gnu::always_inline]] inline Here in_inlined() { return keep({return_address(), __LINE__}); }
constexpr unsigned outer_line = __LINE__ + 1;
[[gnu::noinline]] Here around_inlined() { return in_inlined(); }

}  // namespace

namespace symbolize_test_names {
template <class T>
[[gnu::noinline]] Here in_template(T) {
    return keep({return_address(), __LINE__});
}
}  // namespace symbolize_test_names

namespace {

bool have(const char* path) { return ::access(path, X_OK) == 0; }

/// The tools of this machine, by the parameter that asks for them.
class SymbolizeWith : public testing::TestWithParam<const char*> {
    void SetUp() override {
        if (!have((std::string("/usr/bin/") + GetParam()).c_str())) GTEST_SKIP() << GetParam() << " is not installed";
    }
};
INSTANTIATE_TEST_SUITE_P(Tools, SymbolizeWith,
                         testing::Values("llvm-symbolizer", "llvm-symbolizer-14", "llvm-symbolizer-19", "addr2line", "llvm-addr2line"));

void expect_here(const Seen& seen, const char* function, unsigned line) {
    EXPECT_NE(seen.function.find(function), std::string::npos) << seen.function;
    EXPECT_NE(seen.file.find("symbolize_test.cpp"), std::string::npos) << seen.file;
    EXPECT_EQ(seen.line, line);
    EXPECT_NE(seen.module, "");
}

TEST_P(SymbolizeWith, OwnFunctionsHaveNamesAndLines) {
    const Here plain = in_static(), templated = symbolize_test_names::in_template(1.5);
    const std::vector<Pc> pcs{plain.pc, templated.pc};
    const std::vector<Seen> seen = frames(pcs, GetParam());
    expect_complete(seen, pcs);
    ASSERT_EQ(seen.size(), 2u);
    expect_here(seen[0], "in_static", plain.line);
    expect_here(seen[1], "symbolize_test_names::in_template<double>(double)", templated.line);
}

TEST_P(SymbolizeWith, InlinedFunctionsComeFirst) {
    const Here here = around_inlined();
    const std::vector<Seen> seen = frames({here.pc}, GetParam());
    expect_complete(seen, {here.pc});
    ASSERT_EQ(seen.size(), 2u);
    EXPECT_TRUE(seen[0].inlined);
    expect_here(seen[0], "in_inlined", here.line);
    EXPECT_FALSE(seen[1].inlined);
    expect_here(seen[1], "around_inlined", outer_line);
}

TEST_P(SymbolizeWith, LibraryFunctionsAndGarbageSideBySide) {
    const Pc library = reinterpret_cast<Pc>(::dlsym(RTLD_DEFAULT, "lfind")) + 1;
    int local = 0;
    const Here here = in_static();
    const std::vector<Pc> pcs{0, library, 1, here.pc, reinterpret_cast<Pc>(&local), library, UINTPTR_MAX, here.pc};
    const std::vector<Seen> seen = frames(pcs, GetParam());
    expect_complete(seen, pcs);
    ASSERT_EQ(seen.size(), pcs.size());
    for (const std::size_t i : {1, 5}) {
        EXPECT_NE(seen[i].function.find("lfind"), std::string::npos) << seen[i].function;
        EXPECT_NE(seen[i].module.find("libc"), std::string::npos) << seen[i].module;
    }
    for (const std::size_t i : {3, 7}) expect_here(seen[i], "in_static", here.line);
    for (const std::size_t i : {0, 2, 4, 6}) {
        EXPECT_EQ(seen[i].function, "");
        EXPECT_EQ(seen[i].file, "");
        EXPECT_EQ(seen[i].module.find('/'), std::string::npos) << seen[i].module;
    }
}

TEST_P(SymbolizeWith, ManyAddressesAtOnce) {
    const Here here = in_static();
    std::vector<Pc> pcs;
    // More than one run takes, most of them different, all in this program's code.
    for (Pc i = 0; i < 2500; ++i) pcs.push_back(i % 100 == 0 ? here.pc : here.pc + i * 3 % 4000);
    const std::vector<Seen> seen = frames(pcs, GetParam());
    expect_complete(seen, pcs);
    unsigned right = 0;
    for (const Seen& one : seen)
        if (one.pc == here.pc && one.line == here.line) ++right;
    EXPECT_GE(right, 25u);
}

TEST(Symbolize, NothingToDo) { EXPECT_TRUE(frames({}, nullptr).empty()); }

TEST(Symbolize, WithoutAToolTheSymbolTablesGiveNames) {
    const Here here = in_static();
    const std::vector<Pc> pcs{here.pc, reinterpret_cast<Pc>(::dlsym(RTLD_DEFAULT, "lfind")) + 1};
    for (const char* none : {"0", "/nonexistent/llvm-symbolizer", "/", "/etc/passwd", "no-such-program"}) {
        const std::vector<Seen> seen = frames(pcs, none);
        expect_complete(seen, pcs);
        ASSERT_EQ(seen.size(), 2u);
        EXPECT_NE(seen[0].function.find("in_static"), std::string::npos) << seen[0].function;
        EXPECT_EQ(seen[0].file, "");
        EXPECT_NE(seen[0].offset, 0u);
        EXPECT_NE(seen[1].function.find("lfind"), std::string::npos) << seen[1].function;
    }
}

TEST(Symbolize, PathMayBeEmptyOrMissing) {
    if (!have("/usr/bin/llvm-symbolizer") && !have("/usr/bin/addr2line")) GTEST_SKIP();
    const char* const path = std::getenv("PATH");
    const std::string before = path != nullptr ? path : "";
    const Here here = in_static();
    for (const char* value : {"", ":::", "relative:.", static_cast<const char*>(nullptr)}) {
        if (value != nullptr) ::setenv("PATH", value, 1);
        else ::unsetenv("PATH");
        const std::vector<Seen> seen = frames({here.pc}, nullptr);
        EXPECT_EQ(seen.size(), 1u);
        if (seen.size() == 1) expect_here(seen[0], "in_static", here.line);
    }
    ::setenv("PATH", before.c_str(), 1);
}

/// A symboliser that is a shell script.
class Script {
  public:
    explicit Script(const char* name, const std::string& text) : path_(testing::TempDir() + name + std::to_string(::getpid())) {
        std::ofstream(path_) << "#!/bin/sh\n" << text << "\n";
        ::chmod(path_.c_str(), 0700);
    }
    ~Script() { ::unlink(path_.c_str()); }
    const char* path() const { return path_.c_str(); }

  private:
    std::string path_;
};

class SymbolizeBadTool : public testing::Test {
    void SetUp() override { symbolize::set_time_limit(150); }
    void TearDown() override { symbolize::set_time_limit(20'000); }

  protected:
    /// Whatever the tool does, the addresses are there soon.
    static std::vector<Seen> survive(const std::string& script) {
        std::vector<Seen> last;
        for (const char* kind : {"llvm-symbolizer", "addr2line"}) {
            const Script tool(kind, script);
            std::vector<Pc> pcs{in_static().pc, 0};
            for (Pc i = 0; i < 2000; ++i) pcs.push_back(pcs[0] + i);
            symbolize::set_time_limit(150);
            const auto start = Clock::now();
            last = frames(pcs, tool.path());
            EXPECT_LT(Clock::now() - start, std::chrono::seconds(5)) << script;
            expect_complete(last, pcs);
        }
        return last;
    }
};

TEST_F(SymbolizeBadTool, Hangs) { survive("sleep 1000"); }
TEST_F(SymbolizeBadTool, HangsInAChildAndIgnoresSignals) { survive("trap '' TERM INT HUP PIPE; sleep 1000 & sleep 1000; sleep 1000"); }
TEST_F(SymbolizeBadTool, HangsWithItsOutputClosed) { survive("exec >&-; sleep 1000"); }
TEST_F(SymbolizeBadTool, HangsAfterReading) { survive("cat >/dev/null; sleep 1000"); }
TEST_F(SymbolizeBadTool, IsNotWaitedForTwice) {
    const Script tool("llvm-symbolizer", "sleep 1000");
    const Pc pc = in_static().pc;
    frames({pc}, tool.path());
    const Here here = in_static();
    EXPECT_EQ(frames({here.pc}, nullptr)[0].line, 0u);
    symbolize::set_time_limit(20'000);
    if (have("/usr/bin/llvm-symbolizer")) EXPECT_EQ(frames({here.pc}, nullptr)[0].line, here.line);
}
TEST_F(SymbolizeBadTool, EndsAtOnce) { survive("exit 0"); }
TEST_F(SymbolizeBadTool, Fails) { survive("exit 1"); }
TEST_F(SymbolizeBadTool, Dies) { survive("kill -SEGV $$"); }
TEST_F(SymbolizeBadTool, ClosesItsInput) { survive("exec <&-; sleep 0.1; echo 0x1; echo f; echo a:1:1"); }
TEST_F(SymbolizeBadTool, PrintsGarbage) { survive("head -c 300000 /dev/urandom"); }
TEST_F(SymbolizeBadTool, PrintsOneEndlessLine) { survive("tr '\\0' x </dev/zero"); }
TEST_F(SymbolizeBadTool, PrintsWithoutEnd) { survive("yes 0x10"); }
TEST_F(SymbolizeBadTool, EchoesItsInput) { survive("cat"); }
TEST_F(SymbolizeBadTool, DribblesForever) { survive("while :; do echo x; sleep 0.05; done"); }
TEST_F(SymbolizeBadTool, PrintsStrangeLocations) {
    survive(
        "while read -r l; do set -- $l; for a; do :; done; printf '%s\\nf\\n' $a; printf ':\\n\\n?\\n'; printf '%s\\nf\\n:9:9\\n' $a;"
        "printf '%s\\nf\\nx:99999999999999999999:1\\n' $a; printf '%s\\n\\n\\n\\n)\\n (discriminator )\\n' $a; done");
}

TEST_F(SymbolizeBadTool, OnlyWholeLocationsCount) {
    symbolize::set_time_limit(20'000);
    struct Location {
        const char* text;
        const char* file;
        unsigned line;
    };
    const std::vector<Location> with_column{{"a.c:7:3", "a.c", 7},
                                            {"a.c:7:3 (discriminator 2)", "a.c", 7},
                                            {"a.c:?:0", "a.c", 0},
                                            {"a.c:7:?", "a.c", 7},
                                            {"a:b.c:7:3", "a:b.c", 7},
                                            {"a.c:99999999999999999999:3", "", 0},
                                            {"a.c:7", "", 0},
                                            {"a.c", "", 0},
                                            {":7:3", "", 0},
                                            {"??:7:3", "", 0},
                                            {"??:0:0", "", 0},
                                            {"7", "", 0},
                                            {":", "", 0},
                                            {"?", "", 0},
                                            {"(lost)", "", 0},
                                            {"a.c:7:3)", "", 0},
                                            {"a.c:7:", "", 0},
                                            {" (discriminator 2)", "", 0},
                                            {"a.c:x7:3", "", 0},
                                            {"", "", 0}};
    const std::vector<Location> lines{{"a.c:7", "a.c", 7}, {"a.c:7 (discriminator 12)", "a.c", 7},
                                      {"a.c:?", "a.c", 0}, {"a.c:7)", "", 0},
                                      {"a.c:", "", 0},     {"a.c:99999999999999999999", "", 0},
                                      {":7", "", 0},       {"??:0", "", 0},
                                      {"??:?", "", 0},     {"x", "", 0},
                                      {"", "", 0}};
    for (const auto& [name, times, locations] : {std::tuple{"llvm-symbolizer", 1, &with_column}, std::tuple{"addr2line", 2, &lines}}) {
        std::string answers;
        for (std::size_t i = 0; i < locations->size(); ++i) answers += std::to_string(i) + ") at='" + (*locations)[i].text + "';; ";
        // The address is the last word of a question; one that nobody asked for, and one that is no number, have no answers.
        const Script tool(name, "n=0; while read -r l; do for a in $l; do :; done; case $((n / " + std::to_string(times) + ")) in " +
                                    answers +
                                    "esac; n=$((n + 1)); printf '0x1g\nno\nno:1:1\n0x1\nno\nno:1:1\n%s\nf\n%s\n' $a \"$at\"; done");
        std::vector<Pc> pcs;
        for (std::size_t i = 0; i < locations->size(); ++i) pcs.push_back(in_static().pc + i);
        const std::vector<Seen> seen = frames(pcs, tool.path());
        expect_complete(seen, pcs);
        ASSERT_EQ(seen.size(), locations->size());
        for (std::size_t i = 0; i < seen.size(); ++i) {
            const Location& wanted = (*locations)[i];
            EXPECT_EQ(seen[i].function, "f") << name << " " << wanted.text;
            EXPECT_EQ(seen[i].file, wanted.file) << name << " " << wanted.text;
            EXPECT_EQ(seen[i].line, wanted.line) << name << " " << wanted.text;
        }
    }
}

/// The supervisor hears of the end of what the tool started and left, and the tool itself goes on.
TEST_F(SymbolizeBadTool, LeavesAChildThatEnds) {
    symbolize::set_time_limit(20'000);
    const Script tool("llvm-symbolizer",
                      "(sleep 0.1 &); sleep 0.4; read -r l; for a in $l; do :; done; printf '%s\\nf\\na.c:7:3\\n' $a; cat >/dev/null");
    const std::vector<Seen> seen = frames({in_static().pc}, tool.path());
    ASSERT_EQ(seen.size(), 1u);
    EXPECT_EQ(seen[0].function, "f");
    EXPECT_EQ(seen[0].line, 7u);
}

TEST_F(SymbolizeBadTool, LongNamesAreCutAndControlCharactersReplaced) {
    symbolize::set_time_limit(20'000);
    const Script tool("llvm-symbolizer",
                      "read -r l; for a in $l; do :; done; echo $a; printf 'f\\033[31m\\r'; head -c 100000 /dev/zero | tr '\\0' x; printf "
                      "'\\nnew\\tfile.c:7:3\\n'");
    const std::vector<Seen> seen = frames({in_static().pc}, tool.path());
    ASSERT_EQ(seen.size(), 1u);
    EXPECT_EQ(seen[0].function.substr(0, 7), "f?[31m?");
    EXPECT_LE(seen[0].function.size(), 1000u);
    EXPECT_EQ(seen[0].function.substr(seen[0].function.size() - 4), "x...");
    EXPECT_EQ(seen[0].file, "new?file.c");
    EXPECT_EQ(seen[0].line, 7u);
}

TEST_F(SymbolizeBadTool, ItGetsACleanProcess) {
    symbolize::set_time_limit(20'000);
    const std::string log = testing::TempDir() + "symbolize_env" + std::to_string(::getpid());
    ::setenv("MPMM_OPTIONS", "halt_on_error=1", 1);
    ::setenv("SYMBOLIZE_TEST_KEPT", "kept", 1);
    sigset_t none, before;
    sigemptyset(&none);
    sigaddset(&none, SIGUSR1);
    ::pthread_sigmask(SIG_BLOCK, &none, &before);
    ::signal(SIGUSR2, SIG_IGN);
    const int leaked = ::dup(1);  // stays open over exec
    const Script tool("llvm-symbolizer",
                      "exec >" + log + "; env; grep -E 'Sig(Blk|Ign)' /proc/self/status; echo fds; ls /proc/$$/fd; echo end");
    frames({in_static().pc}, tool.path());
    ::close(leaked);
    ::signal(SIGUSR2, SIG_DFL);
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    ::unsetenv("MPMM_OPTIONS");
    ::unsetenv("SYMBOLIZE_TEST_KEPT");
    std::ifstream file(log);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    ::unlink(log.c_str());
    EXPECT_NE(text.find("end\n"), std::string::npos) << text;
    EXPECT_NE(text.find("SYMBOLIZE_TEST_KEPT=kept"), std::string::npos) << text;
    EXPECT_EQ(text.find("MPMM_OPTIONS"), std::string::npos) << text;
    EXPECT_NE(text.find("SigBlk:\t0000000000000000"), std::string::npos) << text;
    EXPECT_NE(text.find("SigIgn:\t0000000000000000"), std::string::npos) << text;
    // The shell's own copy of the script is 10 or so.
    EXPECT_EQ(text.find("\n3\n"), std::string::npos) << text;
}

std::atomic<int> child_signals{0}, broken_pipes{0};

TEST_F(SymbolizeBadTool, TheProgramSeesNoChildAndNoSignal) {
    struct sigaction counting{}, pipe_before, child_before;
    counting.sa_handler = [](int signal) { ++(signal == SIGCHLD ? child_signals : broken_pipes); };
    ::sigaction(SIGCHLD, &counting, &child_before);
    ::sigaction(SIGPIPE, &counting, &pipe_before);
    std::atomic<bool> stop{false};
    std::atomic<int> reaped{0};
    std::thread waiter([&] {
        while (!stop) {
            if (::waitpid(-1, nullptr, WNOHANG) > 0) ++reaped;
            ::usleep(200);
        }
    });
    // Orphans would come to us.
    ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    for (const char* text :
         {"cat", "exec <&-; exit 0", "sleep 1000", "exit 3", "sleep 1000 & sleep 1000 & sleep 1000", "sleep 1000 >&- & exit 0"}) {
        const Script tool("llvm-symbolizer", text);
        std::vector<Pc> pcs;
        for (Pc i = 0; i < 1000; ++i) pcs.push_back(in_static().pc + i);
        symbolize::set_time_limit(150);
        errno = ERANGE;
        frames(pcs, tool.path());
        EXPECT_EQ(errno, ERANGE);
    }
    stop = true;
    waiter.join();
    ::sigaction(SIGCHLD, &child_before, nullptr);
    ::sigaction(SIGPIPE, &pipe_before, nullptr);
    EXPECT_EQ(child_signals, 0);
    EXPECT_EQ(broken_pipes, 0);
    EXPECT_EQ(reaped, 0);
    // Nothing is left, not even for who looks for all kinds of children.
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG | __WALL), -1);
    EXPECT_EQ(errno, ECHILD);
    ::prctl(PR_SET_CHILD_SUBREAPER, 0);
}

TEST(Symbolize, EnteredAgainItGivesAddresses) {
    struct Nested {
        Pc pc;
        std::vector<Seen> inner;
    } nested{in_static().pc, {}};
    const Pc pcs[] = {nested.pc};
    symbolize::all(
        pcs, 1, nullptr,
        [](void* context, std::size_t, const symbolize::Frame&) {
            auto& self = *static_cast<Nested*>(context);
            self.inner = frames({self.pc, 1}, nullptr);
        },
        &nested);
    expect_complete(nested.inner, {nested.pc, 1});
    ASSERT_EQ(nested.inner.size(), 2u);
    EXPECT_EQ(nested.inner[0].function, "");
    EXPECT_NE(frames({nested.pc}, "0")[0].function, "");
}

std::vector<Seen>* from_signal;
Pc for_signal;

TEST(Symbolize, FromASignalHandlerOnASmallStack) {
    const Here here = in_static();
    std::vector<Seen> seen;
    seen.reserve(10);
    from_signal = &seen;
    for_signal = here.pc;
    // As small as a program may make it.
    static char memory[16 * 1024];
    const stack_t stack{memory, 0, sizeof memory};
    stack_t before;
    ::sigaltstack(&stack, &before);
    struct sigaction action{}, action_before;
    action.sa_flags = SA_ONSTACK;
    action.sa_handler = [](int) {
        symbolize::all(
            &for_signal, 1, nullptr,
            [](void*, std::size_t index, const symbolize::Frame& f) {
                from_signal->push_back({index, f.pc, f.function, f.file, f.line, f.module, f.offset, f.inlined});
            },
            nullptr);
    };
    ::sigaction(SIGSEGV, &action, &action_before);
    ::raise(SIGSEGV);
    ::sigaction(SIGSEGV, &action_before, nullptr);
    ::sigaltstack(&before, nullptr);
    ASSERT_EQ(seen.size(), 1u);
    EXPECT_NE(seen[0].function.find("in_static"), std::string::npos) << seen[0].function;
}

TEST(Symbolize, InTheChildOfFork) {
    const Here here = in_static();
    const pid_t child = ::fork();
    if (child == 0) {
        const std::vector<Seen> seen = frames({here.pc}, nullptr);
        ::_exit(seen.size() == 1 && seen[0].function.find("in_static") != std::string::npos ? 0 : 1);
    }
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
}

}  // namespace
