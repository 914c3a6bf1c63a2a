// SPDX-License-Identifier: Apache-2.0
// replay_TARGET [--trace] FILE|FOLDER...: runs found inputs through a fuzz target, in any build. --trace writes each operation to stderr
// before it runs. The first failure ends it with abort(), after the target and then this program said what failed.
#include "harness/target.hpp"
#include "mpmm/mpmm.h"

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string_view>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

/// The input that runs, for whoever dies in it.
std::filesystem::path running;

void on_abort(int, siginfo_t*, void*) { std::cerr << "replay: " << running.string() << " failed" << std::endl; }

std::vector<std::filesystem::path> files_of(const std::filesystem::path& path) {
    if (!std::filesystem::is_directory(path)) return {path};
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(path))
        if (entry.is_regular_file()) files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    return files;
}

bool replay(const std::filesystem::path& file) {
    std::ifstream input(file, std::ios::binary);
    if (!input) {
        std::cerr << "replay: cannot read " << file << '\n';
        return false;
    }
    const std::vector<std::uint8_t> bytes{std::istreambuf_iterator<char>(input), {}};
    running = file;
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
    return true;
}

}  // namespace

int main(int count, char** arguments) {
    struct sigaction action{};
    action.sa_sigaction = on_abort;
    action.sa_flags = SA_SIGINFO;
    ::sigaction(SIGABRT, &action, nullptr);
    std::size_t runs = 0;
    for (int i = 1; i < count; ++i) {
        if (arguments[i] == std::string_view("--trace")) {
            mpmm::fuzz::trace = &std::cerr;
            continue;
        }
        for (const auto& file : files_of(arguments[i])) {
            if (!replay(file)) return 1;
            ++runs;
        }
    }
    if (runs == 0) {
        std::cerr << "usage: replay_TARGET [--trace] FILE|FOLDER...\n";
        return 2;
    }
    std::cout << runs << " inputs replayed (" << mpmm_version() << ")\n";
    return 0;
}
