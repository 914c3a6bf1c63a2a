// SPDX-License-Identifier: Apache-2.0
// A program built with ThreadSanitizer whose blocks come from a library that was not. Two threads use the same memory again and again, in other
// pieces each time: that is no race. `race`: two threads write to one block, which is.
#include "mpmm/mpmm.h"

#include <atomic>
#include <cstring>
#include <random>
#include <string_view>
#include <thread>
#include <vector>

namespace {

[[gnu::noinline]] void racing_write(char* block) { *static_cast<volatile char*>(block) = 1; }

void use_memory(unsigned seed) {
    std::minstd_rand random(seed);
    std::vector<std::pair<char*, std::size_t>> blocks;
    for (int i = 0; i < 20'000; ++i) {
        if (blocks.size() == 64 || (!blocks.empty() && random() % 2 == 0)) {
            const auto [block, size] = blocks[random() % blocks.size()];
            std::erase_if(blocks, [block = block](const auto& entry) { return entry.first == block; });
            mpmm_free(block, size);
        } else {
            const std::size_t size = i % 500 == 0 ? 3'000'000 : i % 50 == 0 ? 1 + random() % 200'000 : 1 + random() % 3000;
            auto* const block = static_cast<char*>(mpmm_malloc(size));
            for (std::size_t at = 0; at < size; at += 64) block[at] = 1;
            blocks.emplace_back(block, size);
        }
    }
    for (const auto& [block, size] : blocks) mpmm_free(block, size);
}

/// Two threads, one after the other by something that orders nothing.
template <class Function>
void one_after_the_other(Function function) {
    std::atomic<unsigned> turn{0};
    const auto in_turn = [&](unsigned number) {
        while (turn.load(std::memory_order_relaxed) != number) std::this_thread::yield();
        function(number);
        turn.store(number + 1, std::memory_order_relaxed);
    };
    std::thread one(in_turn, 0u), other(in_turn, 1u);
    one.join();
    other.join();
}

void use_memory_again() {
    for (unsigned round = 0; round < 8; ++round) one_after_the_other([&](unsigned number) { use_memory(2 * round + number); });
}

void race() {
    auto* const block = static_cast<char*>(mpmm_malloc(100));
    one_after_the_other([&](unsigned) { racing_write(block); });
    mpmm_free(block, 100);
}

}  // namespace

int main(int count, char** arguments) {
    if (count != 2) return 2;
    if (std::string_view(arguments[1]) == "race") race();
    else use_memory_again();
    return 0;
}
