// SPDX-License-Identifier: Apache-2.0
#include "harness/inputs.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>

namespace mpmm::fuzz {

std::vector<std::filesystem::path> files_of(const std::filesystem::path& path) {
    if (!std::filesystem::is_directory(path)) return {path};
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(path))
        if (entry.is_regular_file()) files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    return files;
}

std::vector<std::uint8_t> read(const std::filesystem::path& file) {
    std::ifstream input(file, std::ios::binary);
    if (!input) throw std::ios_base::failure("cannot read " + file.string());
    return {std::istreambuf_iterator<char>(input), {}};
}

}  // namespace mpmm::fuzz
