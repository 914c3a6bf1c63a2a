// SPDX-License-Identifier: Apache-2.0
// From the addresses of a stack to functions, files and lines. Another program does the work, llvm-symbolizer or addr2line; without one,
// or where it knows nothing, the symbol tables give at least names.
//
// May run in a signal handler, with the heap in ruins and any lock of the C library held: it uses system calls and its own mapping only.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mpmm::symbolize {

/// One line of a stack. The strings live during the visit; they are cut when long, and hold no control characters.
struct Frame {
    std::uintptr_t pc;
    const char* function;   ///< demangled, or "" when unknown
    const char* file;       ///< "" when unknown
    unsigned line;          ///< 0 when unknown
    unsigned column;        ///< 0 when unknown
    const char* module;     ///< the program or library, "[vdso]", or "" for an address in none
    std::uintptr_t offset;  ///< of the pc, as the module's file counts
    bool inlined;           ///< the next visit is the function this one was inlined into
};

/// Calls visit(context, index of the pc in pcs, frame), innermost inlined frame first, for every pc in order; works (with empty names)
/// when there is no symboliser. The pcs are return addresses: what is looked up is the call before each. Pass the address of a
/// fault plus one.
///
/// `symbolizer` is the path or name of the program to ask, "0" for none, or null or "" for the first of llvm-symbolizer,
/// llvm-symbolizer-21 to -14, and addr2line in PATH or /usr/bin. A name with "addr2line" in it is spoken to as such.
///
/// One thread at a time. Entered again, by a signal or from `visit`, it gives the addresses alone.
void all(const std::uintptr_t* pcs, std::size_t count, const char* symbolizer, void (*visit)(void*, std::size_t, const Frame&),
         void* context);

/// How long the other program may be silent before it is killed, 20 seconds unless set. After that no program is asked any more, until
/// this is called again.
void set_time_limit(unsigned milliseconds);

}  // namespace mpmm::symbolize
