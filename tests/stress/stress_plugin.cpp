// SPDX-License-Identifier: Apache-2.0
// A library for stress_child to open: it allocates when it is loaded, when it is used and when it is closed.
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {
std::vector<std::string> loaded(100, std::string(300, 'l'));
thread_local std::string per_thread(200, 'p');
}  // namespace

extern "C" char* plugin_make(std::size_t size) {
    auto* const text = static_cast<char*>(std::malloc(size));
    std::memset(text, per_thread[0], size - 1);
    text[size - 1] = 0;
    loaded.emplace_back(text);
    return text;
}
extern "C" void plugin_destroy(char* text) { std::free(text); }
