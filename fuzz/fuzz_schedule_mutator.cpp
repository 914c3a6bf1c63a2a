// SPDX-License-Identifier: Apache-2.0
// How libFuzzer changes scheduled programs.
#include "schedule/scheduled_program.hpp"

using namespace mpmm::fuzz;

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t most, unsigned seed) {
    Random random(seed);
    return mutate_scheduled(data, size, most, random);
}
