// SPDX-License-Identifier: Apache-2.0
//
// The program under pair_instructions.py: COUNT pairs of malloc and free of SIZE bytes, or of 16 to 511 bytes at random when SIZE is 0, in
// batches of BATCH blocks allocated and then freed in the same order, while a few more stay live. With a fourth argument "empty" the
// same loops run without malloc and free, to know what they cost alone.
#include "workload.hpp"

namespace {

constexpr std::size_t longest_batch = 1024;

}  // namespace

int main(int argc, char** argv) {
    if (argc < 4) workload::fail("usage: bench_pair COUNT SIZE BATCH [empty]");
    const std::size_t count = std::strtoul(argv[1], nullptr, 10);
    const std::size_t size = std::strtoul(argv[2], nullptr, 10);
    const std::size_t batch = std::strtoul(argv[3], nullptr, 10);
    if (batch == 0 || batch > longest_batch) workload::fail("BATCH is 1 to 1024");
    const bool empty = argc > 4 && std::strcmp(argv[4], "empty") == 0;

    static std::array<std::size_t, longest_batch> sizes{};
    workload::Random random(11);
    for (std::size_t& each : sizes) each = size != 0 ? size : random.between(16, 511);
    for (const std::size_t each : sizes) workload::take(each, 0);
    static std::array<void*, longest_batch> blocks{};
    for (std::size_t done = 0; done < count; done += batch) {
        if (empty) {
            for (std::size_t index = 0; index < batch; ++index) {
                workload::escape(&sizes[(done + index) % longest_batch]);
                workload::escape(blocks[index] = blocks.data());
            }
            for (std::size_t index = 0; index < batch; ++index) workload::escape(blocks[index]);
        } else {
            for (std::size_t index = 0; index < batch; ++index)
                workload::escape(blocks[index] = std::malloc(sizes[(done + index) % longest_batch]));
            for (std::size_t index = 0; index < batch; ++index) std::free(blocks[index]);
        }
    }
    return EXIT_SUCCESS;
}
