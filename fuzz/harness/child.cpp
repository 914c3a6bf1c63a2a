// SPDX-License-Identifier: Apache-2.0
#include "harness/child.hpp"

#include <cerrno>
#include <cstring>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

namespace mpmm::fuzz {

namespace {

/// In the child: the failure's text goes to the pipe, and a status to wait().
[[noreturn]] void tell_and_exit(const std::optional<Failure>& failure, int pipe) {
    if (!failure) ::_exit(0);
    const char* text = failure->message.c_str();
    for (std::size_t left = failure->message.size(); left != 0;) {
        const ssize_t written = ::write(pipe, text, left);
        if (written <= 0) break;
        text += written;
        left -= static_cast<std::size_t>(written);
    }
    ::_exit(1);
}

std::string read_all(int pipe) {
    std::string text;
    char buffer[4096];
    for (ssize_t got = 0; (got = ::read(pipe, buffer, sizeof buffer)) > 0;) text.append(buffer, static_cast<std::size_t>(got));
    return text;
}

}  // namespace

std::optional<Failure> in_child(const std::function<std::optional<Failure>()>& function, bool with_errors) {
    int ends[2];
    if (::pipe(ends) != 0) return Failure{"no pipe"};
    const pid_t child = ::fork();
    if (child < 0) return Failure{"no process"};
    if (child == 0) {
        ::close(ends[0]);
        if (with_errors) ::dup2(ends[1], STDERR_FILENO);
        tell_and_exit(function(), ends[1]);
    }
    ::close(ends[1]);
    const std::string text = read_all(ends[0]);
    ::close(ends[0]);
    int status = 0;
    pid_t ended;
    do ended = ::waitpid(child, &status, 0);
    while (ended < 0 && errno == EINTR);  // libFuzzer's clock ticks
    if (ended != child) return Failure{"no child to wait for"};
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return std::nullopt;
    if (!text.empty() && !with_errors) return Failure{text};
    if (WIFSIGNALED(status)) return Failure{text + "the program died: " + ::strsignal(WTERMSIG(status))};
    return Failure{text + "the program exited with " + std::to_string(WEXITSTATUS(status))};
}

}  // namespace mpmm::fuzz
