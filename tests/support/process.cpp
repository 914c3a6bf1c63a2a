// SPDX-License-Identifier: Apache-2.0
#include "support/process.hpp"

#include "support/emulator.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <poll.h>
#include <sstream>
#include <stdexcept>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

namespace mpmm::test {
namespace {

std::vector<std::string> child_environment(const std::map<std::string, std::string>& added) {
    std::vector<std::string> result;
    for (char** entry = environ; *entry != nullptr; ++entry) {
        const std::string text = *entry, name = text.substr(0, text.find('='));
        if (name != "LD_PRELOAD" && name != "MPMM_OPTIONS" && added.count(name) == 0) result.push_back(text);
    }
    for (const auto& [name, value] : added) result.push_back(name + '=' + value);
    return result;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
    std::vector<char*> result;
    for (std::string& string : strings) result.push_back(string.data());
    result.push_back(nullptr);
    return result;
}

struct Pipe {
    int read = -1, write = -1;
    Pipe() {
        int ends[2];
        if (::pipe(ends) != 0) throw std::runtime_error("pipe");
        read = ends[0];
        write = ends[1];
    }
};

/// Removes what the emulator says when a program dies of a signal.
void forget_emulator(std::string& err) {
    if (*emulator == '\0') return;
    for (std::size_t at = 0; (at = err.find("qemu: uncaught target signal", at)) != std::string::npos;)
        err.erase(at, err.find('\n', at) + 1 - at);
}

/// Reads both pipes until both are closed.
void collect(int out, int err, Outcome& outcome) {
    std::array<pollfd, 2> watched{{{out, POLLIN, 0}, {err, POLLIN, 0}}};
    std::string* const into[] = {&outcome.out, &outcome.err};
    for (int open = 2; open != 0;) {
        if (::poll(watched.data(), watched.size(), -1) < 0 && errno != EINTR) throw std::runtime_error("poll");
        for (std::size_t i = 0; i < watched.size(); ++i) {
            if (watched[i].fd < 0 || watched[i].revents == 0) continue;
            std::array<char, 4096> buffer;
            const ssize_t got = ::read(watched[i].fd, buffer.data(), buffer.size());
            if (got > 0) {
                into[i]->append(buffer.data(), static_cast<std::size_t>(got));
            } else {
                ::close(watched[i].fd);
                watched[i].fd = -1;
                --open;
            }
        }
    }
}

}  // namespace

bool Outcome::exited_with(int code) const { return WIFEXITED(status) && WEXITSTATUS(status) == code; }
bool Outcome::killed_by(int signal) const { return WIFSIGNALED(status) && WTERMSIG(status) == signal; }

std::string Outcome::text() const {
    std::ostringstream all;
    if (WIFEXITED(status)) all << "exit status " << WEXITSTATUS(status);
    else all << "signal " << WTERMSIG(status);
    all << "\n--- stdout ---\n" << out << "--- stderr ---\n" << err << "---\n";
    return all.str();
}

std::vector<std::string> Outcome::error_lines() const {
    std::vector<std::string> lines;
    std::istringstream stream(err);
    for (std::string line; std::getline(stream, line);) lines.push_back(line);
    return lines;
}

Outcome run(const std::vector<std::string>& command, const std::map<std::string, std::string>& environment, unsigned alarm_seconds) {
    std::vector<std::string> arguments = command, variables = child_environment(environment);
    const std::vector<char*> argv = pointers(arguments), envp = pointers(variables);
    const Pipe out, err;
    const pid_t child = ::fork();
    if (child < 0) throw std::runtime_error("fork");
    if (child == 0) {
        // An alarm outlives exec; a core file of every abort would take longer than the test.
        ::alarm(alarm_seconds);
        const rlimit no_core{0, 0};
        ::setrlimit(RLIMIT_CORE, &no_core);
        ::dup2(out.write, 1);
        ::dup2(err.write, 2);
        for (const int descriptor : {out.read, out.write, err.read, err.write}) ::close(descriptor);
        ::execve(argv[0], argv.data(), envp.data());
        ::_exit(127);
    }
    ::close(out.write);
    ::close(err.write);
    Outcome outcome;
    collect(out.read, err.read, outcome);
    while (::waitpid(child, &outcome.status, 0) < 0 && errno == EINTR) {
    }
    forget_emulator(outcome.err);
    return outcome;
}

}  // namespace mpmm::test
