// SPDX-License-Identifier: Apache-2.0
// The C library's execve() and execv() for tests that run in an emulator: what is for the machine that it stands for is started by the emulator
// as well. That is itself a program of the machine that there is, so what is to be preloaded is the emulator's to set.
#include <cstring>
#include <fcntl.h>
#include <sstream>
#include <string>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

extern char** environ;

namespace {

/// What an ELF file was built for; 0 when it is none. Allocates nothing: mostly this runs after a fork.
unsigned machine_of(const char* path) {
    unsigned char header[20] = {};
    const int file = ::open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    const bool whole = ::read(file, header, sizeof header) == sizeof header;
    ::close(file);
    return whole && header[0] == 0x7F ? header[18] + header[19] * 256u : 0;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
    std::vector<char*> result;
    for (std::string& string : strings) result.push_back(string.data());
    result.push_back(nullptr);
    return result;
}

}  // namespace

extern "C" int execve(const char* path, char* const arguments[], char* const variables[]) noexcept {
    if (machine_of(path) != machine_of("/proc/self/exe")) return static_cast<int>(::syscall(SYS_execve, path, arguments, variables));
    std::vector<std::string> command, environment;
    std::istringstream words(MPMM_TEST_EMULATOR);
    for (std::string word; words >> word;) command.push_back(word);
    for (; *variables != nullptr; ++variables) {
        if (std::strncmp(*variables, "LD_PRELOAD=", 11) == 0) command.insert(command.end(), {"-E", *variables});
        else environment.emplace_back(*variables);
    }
    command.emplace_back(path);
    if (*arguments != nullptr)
        for (char* const* argument = arguments + 1; *argument != nullptr; ++argument) command.emplace_back(*argument);
    return static_cast<int>(::syscall(SYS_execve, command[0].c_str(), pointers(command).data(), pointers(environment).data()));
}

extern "C" int execv(const char* path, char* const arguments[]) noexcept { return ::execve(path, arguments, environ); }
