// SPDX-License-Identifier: Apache-2.0
// A program that knows nothing of MPMM; only the size of its blocks gives the allocator away.
#include <cstdio>
#include <malloc.h>
#include <memory>
#include <string>
#include <vector>

int main() {
    std::vector<std::unique_ptr<std::string>> strings;
    for (std::size_t i = 0; i < 1000; ++i) strings.push_back(std::make_unique<std::string>(i, 'x'));
    if (strings[999]->size() != 999) return 1;
    // Blocks of 100 bytes have 112 in release, exactly 100 in verify; the C library's have 104.
    std::unique_ptr<void, decltype(&free)> block(malloc(100), &free);
    std::printf("plain %s\n", malloc_usable_size(block.get()) != 104 ? "mpmm" : "other");
    return 0;
}
