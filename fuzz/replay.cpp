// SPDX-License-Identifier: Apache-2.0
// replay [--trace] FILE|FOLDER...: runs found inputs, in any build. --trace writes each operation to stderr before it runs. Exits 1 after
// the first failure, with the program and what went wrong.
#include "harness/executor.hpp"
#include "harness/print.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>

using namespace mpmm::fuzz;

namespace {

std::vector<std::filesystem::path> files_of(const std::filesystem::path& path) {
    if (!std::filesystem::is_directory(path)) return {path};
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(path))
        if (entry.is_regular_file()) files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    return files;
}

bool replay(const std::filesystem::path& file, bool trace) {
    std::ifstream input(file, std::ios::binary);
    if (!input) {
        std::cerr << "replay: cannot read " << file << '\n';
        return false;
    }
    const std::vector<std::uint8_t> bytes{std::istreambuf_iterator<char>(input), {}};
    const Program program = decode(bytes);
    Subject subject;
    const auto failure = Executor(subject).run(program, trace ? &std::cerr : nullptr);
    if (failure) std::cerr << describe(program) << file.string() << ": FAILED: " << failure->message << '\n';
    return !failure;
}

}  // namespace

int main(int count, char** arguments) {
    bool trace = false;
    std::size_t runs = 0;
    for (int i = 1; i < count; ++i) {
        if (arguments[i] == std::string_view("--trace")) {
            trace = true;
            continue;
        }
        for (const auto& file : files_of(arguments[i])) {
            if (!replay(file, trace)) return 1;
            ++runs;
        }
    }
    if (runs == 0) {
        std::cerr << "usage: replay [--trace] FILE|FOLDER...\n";
        return 2;
    }
    std::cout << runs << " inputs replayed (" << mpmm_version() << ")\n";
    return 0;
}
