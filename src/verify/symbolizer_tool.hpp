// SPDX-License-Identifier: Apache-2.0
// The program that knows functions and lines: which one it is, how it is asked, and what its answers say. Both kinds are told to repeat
// each address before they answer it, so that nothing is taken for the answer to another question:
//
//   llvm-symbolizer   "/usr/bin/program" 0x1234          addr2line -e /usr/bin/program   0x1234
//                     0x1234                                                             0x0000000000001234
//                     inlined()                                                          inlined()
//                     /src/a.hpp:7:3                                                     /src/a.hpp:7
//                     outer()                                                            outer()
//                     /src/a.cpp:30:5                                                    /src/a.cpp:30 (discriminator 2)
//                     (an empty line)
#pragma once

#include "platform/child_process.hpp"
#include "verify/symbol_store.hpp"

namespace mpmm::symbolize {

struct Tool {
    char path[Store::longest_path];
    bool is_addr2line;  ///< answers for one module a run
};

/// Finds the program that `name` asks for, see all(). False when there is none.
bool find_tool(const char* name, Tool& tool);

/// Asks about all addresses of the store and puts the answers there. What the tool does not answer in time stays as it was. How the
/// last run went; with addr2line the first that goes wrong is the last.
child_process::Outcome ask(const Tool& tool, Store& store, unsigned silence_ms);

}  // namespace mpmm::symbolize
