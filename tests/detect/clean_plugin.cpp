// SPDX-License-Identifier: Apache-2.0
// Loaded and unloaded by clean_cxx: its constructors, destructors and functions allocate.
#include <cstring>
#include <string>
#include <vector>

namespace {
struct Global {
    std::vector<std::string> texts = std::vector<std::string>(100, std::string(200, 'p'));
    ~Global() { texts.resize(150, std::string(50, 'q')); }
} global;
}  // namespace

extern "C" char* plugin_make() {
    global.texts.emplace_back(300, 'm');
    return strdup("plugin");
}
