// SPDX-License-Identifier: Apache-2.0
// Inputs as files, for the programs that run them without libFuzzer.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

namespace mpmm::fuzz {

/// The files of a folder by name, or the file itself.
std::vector<std::filesystem::path> files_of(const std::filesystem::path& path);

/// Throws std::ios_base::failure when it cannot be read.
std::vector<std::uint8_t> read(const std::filesystem::path& file);

}  // namespace mpmm::fuzz
