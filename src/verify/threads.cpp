// SPDX-License-Identifier: Apache-2.0
#include "verify/threads.hpp"

#include "platform/os.hpp"

#include <cstring>

namespace mpmm::verify_threads {
namespace {

struct Thread {
    Atomic<int> id{0};  // the system's; 0 once the thread ended
    char name[16]{};
};

constexpr std::uint32_t max_threads = 65536;

constinit Thread threads[max_threads]{};
constinit Atomic<std::uint32_t> next{0}, alive{0};

}  // namespace

std::uint16_t number() {
    if (Number::value == 0) [[unlikely]] {
        const std::uint32_t mine = next.fetch_add(1, relaxed);
        Number::value = (mine < max_threads ? mine : max_threads - 1) + 1;
        threads[Number::value - 1].id.store(os::thread_id(), relaxed);
        alive.fetch_add(1, relaxed);
    }
    return static_cast<std::uint16_t>(Number::value - 1);
}

void ends() {
    if (Number::value == 0) return;
    Thread& thread = threads[Number::value - 1];
    os::thread_name(thread.id.load(relaxed), thread.name, sizeof thread.name);
    alive.fetch_sub(1, relaxed);
    // release: who reads 0 reads the name.
    thread.id.store(0, release);
}

bool after_fork() {
    const std::uint32_t mine = Number::value != 0 ? 1 : 0;
    if (mine != 0) threads[Number::value - 1].id.store(os::thread_id(), relaxed);
    return alive.exchange(mine, relaxed) > mine;
}

void name(std::uint16_t number, char* text, std::size_t size) {
    const Thread& thread = threads[number];
    const int id = thread.id.load(acquire);
    if (id != 0) return os::thread_name(id, text, size);
    const std::size_t length = ::strnlen(thread.name, sizeof thread.name);
    std::memcpy(text, thread.name, length < size ? length : size - 1);
    text[length < size ? length : size - 1] = 0;
}

}  // namespace mpmm::verify_threads
