// SPDX-License-Identifier: Apache-2.0
// A C++ program that is linked statically with musl and the drop-in library: containers, exceptions and threads over MPMM's operator new.
#include "malloc/child_check.h"
#include "mpmm/mpmm.h"

#include <cstdint>
#include <map>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

int failed_checks = 0;

namespace {

bool is_mpmm(const void* block) {
    const mpmm_address_info info = mpmm_debugger_find(block);
    return info.kind == MPMM_ADDRESS_LIVE && info.block == block;
}

void check_containers() {
    std::map<int, std::unique_ptr<std::string>> map;
    for (int i = 0; i < 1000; ++i) map[i] = std::make_unique<std::string>(static_cast<std::size_t>(i) + 20, 'x');
    CHECK(is_mpmm(map[500].get()) && is_mpmm(map[500]->data()));
    std::vector<std::string> strings(5000, "longer than what fits into the object itself");
    CHECK(is_mpmm(strings.data()) && is_mpmm(strings.back().data()));
}

struct alignas(256) Wide {
    char bytes[300];
};

void check_operators() {
    const auto wide = std::make_unique<Wide>();
    CHECK(reinterpret_cast<std::uintptr_t>(wide.get()) % 256 == 0 && is_mpmm(wide.get()));
    volatile std::size_t too_much = PTRDIFF_MAX;
    CHECK(::operator new(too_much, std::nothrow) == nullptr);
    bool caught = false;
    try {
        ::operator delete(::operator new(too_much));
    } catch (const std::bad_alloc&) {
        caught = true;
    }
    CHECK(caught);
    std::string what;
    try {
        throw std::runtime_error("thrown and caught");
    } catch (const std::exception& error) {
        what = error.what();
    }
    CHECK(what == "thrown and caught");
}

void check_threads() {
    std::vector<std::unique_ptr<std::vector<int>>> made(8);
    std::vector<std::thread> threads;
    for (auto& place : made)
        threads.emplace_back([&place] {
            for (int i = 0; i < 2000; ++i) place = std::make_unique<std::vector<int>>(static_cast<std::size_t>(i % 300 + 1), i);
        });
    for (std::thread& thread : threads) thread.join();
    for (const auto& place : made) CHECK(place->back() == 1999);
    made.clear();
    CHECK(mpmm_verify_heap() == 0);
}

}  // namespace

int main() {
    check_containers();
    check_operators();
    check_threads();
    if (failed_checks == 0) std::puts("all checks passed");
    return failed_checks != 0;
}
