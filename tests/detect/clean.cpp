// SPDX-License-Identifier: Apache-2.0
// clean_cxx CASE does what programs may do, and must give no report; clean_cxx --list names all cases.
#include "detect/clean.hpp"

#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <unistd.h>

namespace {

/// Global constructors and destructors that allocate and free run in every case.
struct Global {
    std::map<int, std::string> map;
    char* const raw = new char[100];
    Global() {
        for (int i = 0; i < 100; ++i) map[i] = std::string(100, 'g');
    }
    ~Global() {
        const std::string last(1000, 'l');
        mpmm::detect::must(map.size() == 100 && last.size() == 1000, "global destructor");
        delete[] raw;
    }
} global;

}  // namespace

namespace mpmm::detect {

void say_done() { must(::write(1, "done\n", 5) == 5, "write"); }

void must(bool condition, const char* what) {
    if (condition) return;
    std::fprintf(stderr, "failed: %s\n", what);
    std::_Exit(1);
}

}  // namespace mpmm::detect

int main(int count, char** arguments) {
    using namespace mpmm::detect;
    if (count != 2) return 2;
    if (std::strcmp(arguments[1], "nothing") == 0) return 0;
    const bool list = std::strcmp(arguments[1], "--list") == 0;
    for (const CleanCases& cases :
         {clean_memory_cases(), clean_thread_cases(), clean_process_cases(), clean_reachable_cases(), clean_hostile_cases()})
        for (std::size_t i = 0; i < cases.count; ++i) {
            if (list) std::puts(cases.first[i].name);
            if (list || std::strcmp(cases.first[i].name, arguments[1]) != 0) continue;
            cases.first[i].run();
            say_done();
            return 0;
        }
    return list ? 0 : 91;
}
