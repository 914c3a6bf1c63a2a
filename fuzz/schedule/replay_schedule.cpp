// SPDX-License-Identifier: Apache-2.0
// replay_schedule [--trace] [--random N] FILE|FOLDER...: runs found schedules, in any build, and N random ones. --trace shows who did what at which
// atomic access, as one lane per thread. Exits 1 after the first failure; a random program that fails is written to failed.schedule.
#include "harness/print.hpp"
#include "schedule/scheduled_executor.hpp"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>

using namespace mpmm::fuzz;

namespace {

FiberScheduler& scheduler() {
    static FiberScheduler one;
    return one;
}
unsigned threads = 0;

std::vector<std::uint8_t> latest;

void keep_latest() {
    std::ofstream("failed.schedule", std::ios::binary)
        .write(reinterpret_cast<const char*>(latest.data()), static_cast<long>(latest.size()));
    std::cerr << describe(decode_scheduled(latest)) << "the program is in failed.schedule\n";
}

void on_abort(int) {
    std::signal(SIGABRT, SIG_DFL);
    if (!latest.empty()) keep_latest();
    if (scheduler().keeps_trace()) print_trace(std::cerr, scheduler(), threads);
}

bool replay(const std::string& name, const std::vector<std::uint8_t>& bytes) {
    static Subject subject;
    static ScheduledExecutor executor(subject, scheduler());
    const ScheduledProgram scheduled = decode_scheduled(bytes);
    threads = scheduled.plan.threads;
    if (scheduler().keeps_trace()) std::cerr << describe(scheduled);
    const auto failure = executor.run(scheduled);
    if (scheduler().keeps_trace()) print_trace(std::cerr, scheduler(), threads);
    if (failure) std::cerr << describe(scheduled) << name << ": FAILED: " << failure->message << '\n';
    return !failure;
}

bool replay_random(std::size_t wanted) {
    for (std::size_t i = 0; i < wanted; ++i) {
        Random random(static_cast<Random::result_type>(Xorshift(i)()));
        latest = encode(random_scheduled(random));
        if (replay("random program " + std::to_string(i), latest)) continue;
        keep_latest();
        return false;
    }
    return true;
}

}  // namespace

int main(int count, char** arguments) {
    std::size_t runs = 0;
    std::signal(SIGABRT, on_abort);
    for (int i = 1; i < count; ++i) {
        if (arguments[i] == std::string_view("--trace")) {
            scheduler().keep_trace(true);
            continue;
        }
        if (arguments[i] == std::string_view("--random") && i + 1 < count) {
            const std::size_t wanted = std::strtoul(arguments[++i], nullptr, 10);
            if (!replay_random(wanted)) return 1;
            runs += wanted;
            continue;
        }
        std::vector<std::filesystem::path> files{arguments[i]};
        if (std::filesystem::is_directory(arguments[i])) {
            files.clear();
            for (const auto& entry : std::filesystem::directory_iterator(arguments[i])) files.push_back(entry.path());
            std::sort(files.begin(), files.end());
        }
        for (const auto& file : files) {
            std::ifstream input(file, std::ios::binary);
            if (!input) {
                std::cerr << "replay_schedule: cannot read " << file << '\n';
                return 1;
            }
            const std::vector<std::uint8_t> bytes{std::istreambuf_iterator<char>(input), {}};
            if (!replay(file.string(), bytes)) return 1;
            ++runs;
        }
    }
    if (runs == 0) {
        std::cerr << "usage: replay_schedule [--trace] [--random N] FILE|FOLDER...\n";
        return 2;
    }
    std::cout << runs << " schedules replayed (" << mpmm_version() << ")\n";
    return 0;
}
