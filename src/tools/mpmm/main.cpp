// SPDX-License-Identifier: Apache-2.0
// mpmm: runs a program on the allocator. `mpmm run [--verify] [-o OPTIONS] -- PROGRAM ARGS…` preloads the drop-in library that was built or
// installed with this program. `mpmm replay FILE…` runs what a fuzz target found, with the replay programs of the same build.
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

/// A file of this build in one of the directories, which are relative to this program's; empty: it is in none.
fs::path find_beside(const std::string& name, std::initializer_list<const char*> directories) {
    std::error_code error;
    const fs::path self = fs::read_symlink("/proc/self/exe", error);
    for (const char* directory : directories) {
        const fs::path candidate = self.parent_path() / directory / name;
        if (fs::exists(candidate, error)) return fs::canonical(candidate, error);
    }
    return {};
}

/// Becomes the program. Returns the status when there is none.
int execute(std::vector<std::string> command) {
    std::vector<char*> arguments;
    for (std::string& argument : command) arguments.push_back(argument.data());
    arguments.push_back(nullptr);
    ::execvp(arguments[0], arguments.data());
    std::cerr << "mpmm: cannot run '" << command[0] << "': " << std::strerror(errno) << '\n';
    return 127;
}

/// Prepends to a list variable.
void prepend(const char* variable, const std::string& value, char separator) {
    const char* const old = std::getenv(variable);
    const std::string joined = old != nullptr && *old != 0 ? value + separator + old : value;
    ::setenv(variable, joined.c_str(), 1);
}

int run(bool verify, const std::string& options, std::vector<std::string> command) {
    const std::string name = verify ? "libmpmm_malloc_verify.so" : "libmpmm_malloc.so";
    // lib/ in a build tree, the configured directory in an installation.
    const fs::path library = find_beside(name, {"../lib", "../" MPMM_LIBDIR});
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
    return execute(std::move(command));
}

/// The fuzz target that an input is of: a folder or the beginning of the file's name says it, as in fuzz_heap/crash-… and fuzz_heap-crash-….
std::string target_of(const fs::path& file) {
    std::string target;
    for (const fs::path& part : fs::absolute(file)) {
        const std::string name = part.string();
        if (name.rfind("fuzz_", 0) == 0) target = name.substr(5, name.find_first_of("-.", 5) - 5);
    }
    return target;
}

struct Replay {
    std::string target;
    bool verify = false, quiet = false, shrink = false, as_test = false;
    std::vector<std::string> files;
};

int replay(const Replay& wanted) {
    const std::string target = wanted.target.empty() ? target_of(wanted.files[0]) : wanted.target;
    if (target.empty()) {
        std::cerr << "mpmm: no part of '" << wanted.files[0] << "' names a target as fuzz_heap does; use --target\n";
        return 2;
    }
    const bool says_mode = target.size() > 7 && target.compare(target.size() - 7, 7, "_verify") == 0;
    const std::string name = "replay_" + target + (wanted.verify && !says_mode ? "_verify" : "");
    const fs::path program = find_beside(name, {"."});
    if (program.empty()) {
        std::cerr << "mpmm: " << name << " is not beside this program\n";
        return 127;
    }
    std::vector<std::string> command{program.string()};
    if (wanted.shrink) command.emplace_back("--shrink");
    else if (wanted.as_test) command.emplace_back("--as-test");
    else if (!wanted.quiet) command.emplace_back("--trace");
    command.insert(command.end(), wanted.files.begin(), wanted.files.end());
    return execute(std::move(command));
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

    CLI::App* const replayer = app.add_subcommand("replay", "Run what a fuzz target found, showing each operation");
    Replay wanted;
    replayer->add_option("files", wanted.files, "inputs of one target, or folders of them")->required()->check(CLI::ExistingPath);
    replayer->add_option("--target", wanted.target, "heap, schedule, …; default: the fuzz_TARGET in the first file's path");
    replayer->add_flag("--verify", wanted.verify, "run it in verify mode");
    replayer->add_flag("--quiet", wanted.quiet, "do not show the operations");
    replayer->add_flag("--shrink", wanted.shrink, "write FILE.small: the smallest input found that fails the same way");
    replayer->add_flag("--as-test", wanted.as_test, "print a GoogleTest case that runs the input");

    CLI11_PARSE(app, argc, argv);
    return replayer->parsed() ? replay(wanted) : run(verify, options, command);
}
