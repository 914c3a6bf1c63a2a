// SPDX-License-Identifier: Apache-2.0
// abi_child LIBRARY: checks everything the drop-in library replaces; LIBRARY is part of the name of the file malloc must come from.
#include "malloc/child_check.h"

#include <thread>

int main(int argc, char** argv) {
    if (argc != 2) return 2;
    check_c_functions(argv[1]);
    if (failed_checks != 0) return 1;
    check_cxx_operators(argv[1]);
    // Once more in a thread of its own, with its own cache.
    std::thread([&] {
        check_c_functions(argv[1]);
        check_cxx_operators(argv[1]);
    }).join();
    if (failed_checks == 0) std::puts("all checks passed");
    return failed_checks != 0;
}
