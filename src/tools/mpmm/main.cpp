// SPDX-License-Identifier: Apache-2.0
// mpmm: runs a program on the allocator. `mpmm run [--verify] [-o OPTIONS] -- PROGRAM ARGS…` preloads the drop-in library that was built or
// installed with this program.
#include <CLI/CLI.hpp>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <string>
#include <unistd.h>
#include <vector>

namespace {

namespace fs = std::filesystem;

/// The library beside this program: lib/ in a build tree, the configured directory in an installation.
fs::path find_library(const std::string& name) {
    std::error_code error;
    const fs::path self = fs::read_symlink("/proc/self/exe", error);
    for (const char* directory : {"../lib", "../" MPMM_LIBDIR}) {
        const fs::path candidate = self.parent_path() / directory / name;
        if (fs::exists(candidate, error)) return fs::canonical(candidate, error);
    }
    return {};
}

/// Prepends to a list variable.
void prepend(const char* variable, const std::string& value, char separator) {
    const char* const old = std::getenv(variable);
    const std::string joined = old != nullptr && *old != 0 ? value + separator + old : value;
    ::setenv(variable, joined.c_str(), 1);
}

int run(bool verify, const std::string& options, std::vector<std::string> command) {
    const std::string name = verify ? "libmpmm_malloc_verify.so" : "libmpmm_malloc.so";
    const fs::path library = find_library(name);
    if (library.empty()) {
        std::cerr << "mpmm: " << name << " is not beside this program\n";
        return 127;
    }
    prepend("LD_PRELOAD", library.string(), ' ');
    // Later options win, so the command line's come last.
    if (!options.empty()) {
        const char* const old = std::getenv("MPMM_OPTIONS");
        ::setenv("MPMM_OPTIONS", old != nullptr && *old != 0 ? (std::string(old) + ':' + options).c_str() : options.c_str(), 1);
    }
    std::vector<char*> arguments;
    for (std::string& argument : command) arguments.push_back(argument.data());
    arguments.push_back(nullptr);
    ::execvp(arguments[0], arguments.data());
    std::cerr << "mpmm: cannot run '" << command[0] << "': " << std::strerror(errno) << '\n';
    return 127;
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"MPMM, a memory allocator", "mpmm"};
    app.set_version_flag("--version", MPMM_VERSION);
    app.require_subcommand(1);

    CLI::App* const runner = app.add_subcommand("run", "Run a program with its memory from MPMM");
    bool verify = false;
    std::string options;
    std::vector<std::string> command;
    runner->add_flag("--verify", verify, "use the verify build: checks the heap and explains errors");
    runner->add_option("-o,--options", options, "key=value:key=value, as in MPMM_OPTIONS (help=1 lists the keys)");
    runner->add_option("program", command, "the program and its arguments, after --")->required();
    runner->prefix_command(false);
    runner->positionals_at_end(true);

    CLI11_PARSE(app, argc, argv);
    return run(verify, options, command);
}
