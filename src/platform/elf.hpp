// SPDX-License-Identifier: Apache-2.0
// As much of an ELF file as reports need: where its segments want to be, and what its symbol tables call an address. The bytes come
// through a file descriptor or out of this process's memory, always by system calls that fail instead of faulting: the file may be cut
// short, the memory unmapped meanwhile, and every number in it may be wrong.
//
// Allocates nothing, takes no lock; for any thread and any signal handler.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mpmm::elf {

/// An ELF file's bytes.
struct Image {
    int descriptor = -1;        ///< the file, or -1: then the file lies in memory
    std::uintptr_t memory = 0;  ///< where it begins there

    /// Reads up to `size` bytes at `offset` of the file; how many there were.
    std::size_t read(std::uint64_t offset, void* to, std::size_t size) const;
};

/// A piece of a file in memory.
struct Placed {
    std::uintptr_t start;
    std::uint64_t offset;  ///< the byte of the file that lies at `start`
    bool executable;
};

/// Finds the segment that `placed` was mapped from. `base` is what was added to the segment's addresses: 0 for a program with fixed
/// addresses. False when this is no ELF file of this machine's width, or none of its segments is there.
bool load_base(const Image& image, const Placed& placed, std::uintptr_t& base);

/// A question to name_functions().
struct Wanted {
    std::uintptr_t address;  ///< as the file counts, without the base
    char* name;              ///< receives the name, cut to `room` with its zero; untouched when there is none
    std::size_t room;
    std::uint64_t name_at;  ///< scratch
};

/// Looks functions up in the symbol tables of `image`: the names as linked, not demangled. One pass, however many questions.
void name_functions(const Image& image, Wanted* wanted, std::size_t count);

}  // namespace mpmm::elf
