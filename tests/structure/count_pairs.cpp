// SPDX-License-Identifier: Apache-2.0
//
// The program under instructions.py: count_pairs CALLS COUNT SIZE BATCH allocates COUNT blocks and frees them, BATCH at a time in the same
// order, of SIZE bytes or of 16 to 511 at random when SIZE is 0. CALLS says through which functions: "malloc" (the process's own), "unsized",
// "sized", "batch", or "none", to know what the loops cost alone.
#include "bench/workload.hpp"
#include "mpmm/mpmm.h"

#include <string_view>

namespace {

constexpr std::size_t most = 1024;
std::size_t sizes[most];
void* blocks[most];

template <class Allocate, class Free>
void pairs(std::size_t count, std::size_t batch, Allocate allocate, Free release) {
    for (std::size_t done = 0; done < count; done += batch) {
        const std::size_t* const size = sizes + done % most;
        for (std::size_t i = 0; i < batch; ++i) workload::escape(blocks[i] = allocate(size[i]));
        for (std::size_t i = 0; i < batch; ++i) release(blocks[i], size[i]);
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 5) workload::fail("usage: count_pairs CALLS COUNT SIZE BATCH");
    const std::string_view calls = argv[1];
    const std::size_t count = std::strtoul(argv[2], nullptr, 10), size = std::strtoul(argv[3], nullptr, 10),
                      batch = std::strtoul(argv[4], nullptr, 10);
    if (batch == 0 || most % batch != 0) workload::fail("BATCH divides 1024");
    workload::Random random(11);
    for (std::size_t& each : sizes) each = size != 0 ? size : random.between(16, 511);
    if (calls == "malloc") {
        for (const std::size_t each : sizes) workload::take(each, 0);
        pairs(count, batch, [](std::size_t n) { return std::malloc(n); }, [](void* block, std::size_t) { std::free(block); });
        return 0;
    }
    for (const std::size_t each : sizes) workload::escape(mpmm_malloc(each));
    if (calls == "unsized") {
        pairs(count, batch, mpmm_malloc, [](void* block, std::size_t) { mpmm_free_unsized(block); });
    } else if (calls == "sized") {
        pairs(count, batch, mpmm_malloc, mpmm_free);
    } else if (calls == "batch") {
        if (size == 0) workload::fail("a batch has one size");
        for (std::size_t done = 0; done < count; done += batch) {
            if (mpmm_malloc_batch(size, batch, blocks) != batch) workload::fail("out of memory");
            workload::escape(blocks);
            mpmm_free_batch(size, batch, blocks);
        }
    } else if (calls == "none") {
        pairs(count, batch, [](std::size_t n) { return sizes + n % 2; }, [](void* block, std::size_t) { workload::escape(block); });
    } else {
        workload::fail("CALLS is malloc, unsized, sized, batch or none");
    }
    return 0;
}
