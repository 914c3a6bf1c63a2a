// SPDX-License-Identifier: Apache-2.0
// How libFuzzer changes programs of heap operations: see harness/mutator.hpp.
#include "harness/mutator.hpp"

using namespace mpmm::fuzz;

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t most);

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t most, unsigned seed) {
    Random random(seed);
    // Now and then libFuzzer's own way, which knows what the allocator compared its numbers with.
    if (random() % 8 == 0) return LLVMFuzzerMutate(data, size, most);
    return mutate(data, size, most, random);
}

extern "C" std::size_t LLVMFuzzerCustomCrossOver(const std::uint8_t* first, std::size_t first_size, const std::uint8_t* second,
                                                 std::size_t second_size, std::uint8_t* out, std::size_t most, unsigned seed) {
    Random random(seed);
    return cross(first, first_size, second, second_size, out, most, random);
}
