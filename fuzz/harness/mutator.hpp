// SPDX-License-Identifier: Apache-2.0
// Mutations that know the language: whole records come, go, double and change places, sizes step to class boundaries, and two programs mix
// record by record. Works on the bytes in place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>

namespace mpmm::fuzz {

using Random = std::minstd_rand;

/// Changes the program in data[0, size), which has room for `most` bytes. Returns the new size.
std::size_t mutate(std::uint8_t* data, std::size_t size, std::size_t most, Random& random);
/// A program of records of both, at most `most` bytes. Returns its size.
std::size_t cross(const std::uint8_t* first, std::size_t first_size, const std::uint8_t* second, std::size_t second_size, std::uint8_t* out,
                  std::size_t most, Random& random);

}  // namespace mpmm::fuzz
