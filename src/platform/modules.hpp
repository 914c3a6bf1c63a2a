// SPDX-License-Identifier: Apache-2.0
// What is mapped where in this process, read from /proc/self/maps with the reader's own buffer: no allocation, no lock, no loader. Another
// thread may map and unmap meanwhile; then the answer is one that was true at some moment.
//
//   /proc/self/maps   7f..1000-7f..3000 r-xp 00001000 08:01 4242  /usr/lib/libfoo.so
//                     start     end     rights  offset  device inode  path
#pragma once

#include <cstddef>
#include <cstdint>

namespace mpmm::modules {

/// One line of /proc/self/maps.
struct Mapping {
    std::uintptr_t start;
    std::uintptr_t end;
    bool readable;
    bool writable;
    bool executable;
    bool is_private;
    std::uint64_t offset;   ///< the byte of the file that lies at `start`
    std::uint64_t device;   ///< with inode, which file it is
    std::uint64_t inode;    ///< 0 when there is no file; on Windows, where the module is loaded
    std::uintptr_t header;  ///< where the first byte of the same file is mapped, or 0
    const char* path;       ///< as the kernel writes it; "" without a name, "[vdso]" and its like without a file
    bool path_cut;          ///< the path did not fit
};

/// Reads the mappings one after the other, lowest address first. About 5 KiB: keep it off small signal stacks.
class Mappings {
  public:
    Mappings() = default;
    Mappings(const Mappings&) = delete;
    Mappings& operator=(const Mappings&) = delete;
    ~Mappings() { close(); }

    /// False when /proc is not there.
    bool open();
#ifdef _WIN32
    /// From the mapping on that `address` lies in.
    bool open_at(std::uintptr_t address) {
        header_ = address;
        ended_ = false;
        inode_ = 0;
        return true;
    }
#endif
    /// The next mapping; its path is valid until the next call. False at the end.
    bool next(Mapping& mapping);
    void close();

  private:
    bool fill();
    char* line(bool& cut);

    int descriptor_ = -1;
    bool ended_ = false;
    std::size_t begin_ = 0, end_ = 0;
    std::uint64_t device_ = 0, inode_ = 0;
    std::uintptr_t header_ = 0;
    char buffer_[4096 + 640];
};

/// Calls visit(context, mapping) for every mapping until it returns false. False when /proc cannot be read.
bool for_each(bool (*visit)(void* context, const Mapping& mapping), void* context);

/// What must be taken from an address in `mapping` to get the address its ELF file speaks of. False when it is no ELF file's.
bool load_base(const Mapping& mapping, std::uintptr_t& base);

/// A path under which the mapped file, and no other, can be opened; a deleted program is found through /proc. False when there is none.
bool file_path(const Mapping& mapping, char* path, std::size_t room);

/// A program, a shared object or the vdso.
struct Module {
    std::uintptr_t base;   ///< `pc - base` is the address in the ELF file
    std::uintptr_t start;  ///< the mapping that holds the pc
    std::uintptr_t end;
    char path[4096];  ///< as the kernel writes it, maybe with " (deleted)"
};

/// Which module `pc` lies in. False when in none: data, code made at run time, nothing at all, or /proc is not there.
bool find(std::uintptr_t pc, Module& module);

}  // namespace mpmm::modules
