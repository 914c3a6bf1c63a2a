// SPDX-License-Identifier: Apache-2.0
// replay_TARGET FILE|FOLDER...: runs found inputs through a fuzz target, in any build. A report of verify that shows the last operations
// (trace_ops=N) is an input as well. The first failure ends it with abort(), after the target and then this program said what failed. --shrink
// and --as-test make something smaller, or a test, of one input.
#include "harness/inputs.hpp"
#include "harness/child.hpp"
#include "harness/shrink.hpp"
#include "mpmm/mpmm.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <iterator>
#include <memory>
#include <regex>
#include <unistd.h>

namespace {

using namespace mpmm::fuzz;
namespace fs = std::filesystem;

/// A run under the shrinker that takes longer hangs.
constexpr unsigned run_seconds = 20;

/// The input that runs, for whoever dies in it.
fs::path running;

/// The bytes of an input, or what a report's last operations are as one.
Bytes input_of(const fs::path& file) {
    Bytes bytes = read(file);
    if (shape.from_report != nullptr)
        if (auto translated = shape.from_report({bytes.begin(), bytes.end()})) return *std::move(translated);
    return bytes;
}

void on_abort(int, siginfo_t*, void*) { std::cerr << "replay: " << running.string() << " failed" << std::endl; }

void replay(const std::vector<fs::path>& files) {
    struct sigaction action{};
    action.sa_sigaction = on_abort;
    action.sa_flags = SA_SIGINFO;
    ::sigaction(SIGABRT, &action, nullptr);
    for (const auto& file : files) {
        const Bytes bytes = input_of(file);
        running = file;
        LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
    }
    std::cout << files.size() << " inputs replayed (" << mpmm_version() << ")\n";
}

/// How a run ended.
struct Ending {
    std::string kind;  ///< what failed, without numbers and addresses; empty: nothing
    Bytes recorded;    ///< the input as the target recorded it, or empty
};
/// The first line that says what failed, from "FAILED: operation 3, …: kind of failure at 0x… of 16 bytes" what is between the last place
/// and the first number.
std::string kind_of(const std::string& output) {
    static constexpr const char* marks[] = {"FAILED: ", "ERROR: ", "runtime error: "};
    for (std::size_t begin = 0, end = 0; begin < output.size(); begin = end + 1) {
        end = std::min(output.find('\n', begin), output.size());
        std::string line = output.substr(begin, end - begin);
        for (const char* mark : marks) {
            const std::size_t at = line.find(mark);
            if (at == line.npos) continue;
            line.erase(0, at);
            if (const std::size_t place = line.find(": operation "); place != line.npos)
                if (const std::size_t colon = line.find(": ", place + 2); colon != line.npos) line.erase(place, colon - place);
            return line.substr(0, line.find_first_of("0123456789"));
        }
    }
    return output.substr(output.rfind('\n') + 1);
}

/// Runs the input through the target, in a child.
Ending run_in_child(const Bytes& input) {
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> record(std::tmpfile(), &std::fclose);
    if (record == nullptr) fail("no temporary file");
    const auto failure = in_child(
        [&]() -> std::optional<Failure> {
            record_to = ::fileno(record.get());
            ::alarm(run_seconds);
            LLVMFuzzerTestOneInput(input.data(), input.size());
            return std::nullopt;
        },
        true);
    if (!failure) return {};
    Ending ending{kind_of(failure->message), {}};
    std::rewind(record.get());
    for (int byte = 0; (byte = std::fgetc(record.get())) != EOF;) ending.recorded.push_back(static_cast<std::uint8_t>(byte));
    return ending;
}

void write(const fs::path& file, const Bytes& bytes) {
    std::ofstream(file, std::ios::binary).write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

/// Writes FILE.small, anew each time something smaller fails. What the target recorded, when it fails too, is shrunk once more: its numbers mean
/// less to each other.
int write_smaller(const fs::path& file) {
    const Bytes input = input_of(file);
    const Ending first = run_in_child(input);
    if (first.kind.empty()) {
        std::cerr << "replay: " << file.string() << " does not fail\n";
        return 1;
    }
    std::cout << first.kind << std::endl;
    const fs::path small = file.string() + ".small";
    const auto fails = [&](const Bytes& candidate) {
        if (run_in_child(candidate).kind != first.kind) return false;
        write(small, candidate);
        return true;
    };
    Bytes bytes = shrink(shape, input, fails);
    if (const Bytes recorded = run_in_child(bytes).recorded; !recorded.empty() && fails(recorded)) bytes = shrink(shape, recorded, fails);
    write(small, bytes);
    std::cout << input.size() << " bytes -> " << bytes.size() << ": " << small.string() << '\n';
    return 0;
}

/// A line of the array, with what it means.
void write_bytes(const Bytes& bytes, const std::string& meaning) {
    std::cout << "        ";
    for (const std::uint8_t byte : bytes)
        std::cout << "0x" << std::hex << std::setw(2) << std::setfill('0') << unsigned{byte} << std::dec << ", ";
    if (!meaning.empty()) std::cout << " // " << meaning;
    std::cout << '\n';
}

void write_test(const fs::path& file, const std::string& target) {
    const Pieces pieces = shape.split(input_of(file));
    const Bytes bytes = shape.join(pieces);
    std::string name = file.filename().string();
    std::replace_if(name.begin(), name.end(), [](unsigned char letter) { return std::isalnum(letter) == 0; }, '_');
    std::cout << "// Input " << file.filename() << " of " << target << ". Links with that target's object and its harness.\n"
              << "#include <cstdint>\n#include <gtest/gtest.h>\n\n"
              << "extern \"C\" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);\n\n"
              << "TEST(" << target << ", " << name << ") {\n    static constexpr std::uint8_t input[] = {\n";
    const auto header = static_cast<std::ptrdiff_t>(pieces.header.size());
    write_bytes({bytes.begin(), bytes.begin() + header}, shape.describe_header == nullptr ? "" : shape.describe_header(pieces.header));
    for (std::size_t group = 0; group < pieces.groups.size(); ++group)
        for (const Bytes& item : pieces.groups[group])
            write_bytes(item, shape.describe_item == nullptr ? "" : shape.describe_item(group, item));
    std::cout << "    };\n    LLVMFuzzerTestOneInput(input, sizeof input);\n}\n";
}

}  // namespace

int main(int count, char** arguments) {
    CLI::App app{"Runs inputs of a fuzz target"};
    std::vector<std::string> paths;
    bool steps = false, smaller = false, as_test = false;
    app.add_option("inputs", paths, "files, or folders of files")->required();
    app.add_flag("--trace", steps, "show each operation before it runs, and with schedules a lane per thread");
    app.add_flag("--shrink", smaller, "write FILE.small: the smallest input found that fails the same way");
    app.add_flag("--as-test", as_test, "print a GoogleTest case that runs the input");
    CLI11_PARSE(app, count, arguments);
    std::vector<fs::path> files;
    for (const auto& path : paths)
        for (auto& file : files_of(path)) files.push_back(std::move(file));
    if (steps) trace = &std::cerr;
    try {
        int status = 0;
        if (smaller)
            for (const auto& file : files) status |= write_smaller(file);
        else if (as_test)
            for (const auto& file : files)
                write_test(file, std::regex_replace(fs::path(arguments[0]).filename().string(), std::regex("^replay_"), "fuzz_"));
        else replay(files);
        return status;
    } catch (const std::ios_base::failure& error) {
        std::cerr << "replay: " << error.what() << '\n';
        return 1;
    }
}
