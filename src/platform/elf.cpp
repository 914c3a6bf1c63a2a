// SPDX-License-Identifier: Apache-2.0
// See elf.hpp.
#include "platform/elf.hpp"

#include "platform/os.hpp"
#include "platform/signal_safe.hpp"

#include <cstring>
#include <link.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

namespace mpmm::elf {
namespace {

using Header = ElfW(Ehdr);
using Segment = ElfW(Phdr);
using Section = ElfW(Shdr);
using Symbol = ElfW(Sym);

constexpr std::size_t batch = 32;

bool read_header(const Image& image, Header& header) {
    constexpr unsigned char width = sizeof(void*) == 8 ? ELFCLASS64 : ELFCLASS32;
    return image.read(0, &header, sizeof header) == sizeof header && std::memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 &&
           header.e_ident[EI_CLASS] == width;
}

void take_name(const Image& image, Wanted& wanted) {
    char text[256];
    const std::size_t room = wanted.room < sizeof text ? wanted.room : sizeof text;
    if (room == 0) return;
    std::size_t length = image.read(wanted.name_at, text, room - 1);
    text[length] = '\0';
    length = std::strlen(text);
    std::memcpy(wanted.name, text, length + 1);
}

void search(const Image& image, const Section& symbols, std::uint64_t names, Wanted* wanted, std::size_t count) {
    Symbol table[batch];
    for (std::uint64_t done = 0; done < symbols.sh_size;) {
        const std::uint64_t left = symbols.sh_size - done;
        const auto size = static_cast<std::size_t>(left < sizeof table ? left : sizeof table);
        const std::size_t got = image.read(symbols.sh_offset + done, table, size) / sizeof(Symbol);
        if (got == 0) return;
        done += got * sizeof(Symbol);
        for (const Symbol* symbol = table; symbol != table + got; ++symbol) {
            const unsigned type = symbol->st_info & 0xf;
            if (symbol->st_shndx == SHN_UNDEF || symbol->st_name == 0 || (type != STT_FUNC && type != STT_GNU_IFUNC)) continue;
            for (Wanted* one = wanted; one != wanted + count; ++one)
                if (one->name_at == 0 && one->address - symbol->st_value < symbol->st_size) one->name_at = names + symbol->st_name;
        }
    }
}

}  // namespace

std::size_t Image::read(std::uint64_t offset, void* to, std::size_t size) const {
    const KeepErrno keep;
    std::size_t done = 0;
    while (done < size) {
        char* const target = static_cast<char*>(to) + done;
        long got;
        if (descriptor >= 0) {
            got = ::pread(descriptor, target, size - done, static_cast<off_t>(offset + done));
        } else {
            iovec mine{target, size - done},
                theirs{reinterpret_cast<void*>(memory + static_cast<std::uintptr_t>(offset) + done), size - done};
            got = ::syscall(SYS_process_vm_readv, os::process_id(), &mine, 1L, &theirs, 1L, 0L);
        }
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        done += static_cast<std::size_t>(got);
    }
    return done;
}

bool load_base(const Image& image, const Placed& placed, std::uintptr_t& base) {
    Header header;
    if (!read_header(image, header) || header.e_phentsize != sizeof(Segment)) return false;
    const std::uint64_t page_mask = os::page_size() - 1;
    int best = -1;
    for (unsigned i = 0; i < header.e_phnum; ++i) {
        Segment segment;
        if (image.read(header.e_phoff + std::uint64_t{i} * sizeof segment, &segment, sizeof segment) != sizeof segment) break;
        if (segment.p_type != PT_LOAD) continue;
        // Whole pages are mapped, and the first one is enough: the loader may have split the segment, or the kernel merged two.
        const std::uint64_t first = segment.p_offset & ~page_mask;
        if (placed.offset < first || placed.offset >= segment.p_offset + segment.p_filesz) continue;
        // Neighbouring segments share the page they meet in: the rights, or else where the mapping begins, tell which of them this is.
        const int score = (((segment.p_flags & PF_X) != 0) == placed.executable ? 2 : 0) + (first == placed.offset ? 1 : 0);
        if (score <= best) continue;
        best = score;
        base = placed.start - static_cast<std::uintptr_t>(placed.offset) + static_cast<std::uintptr_t>(segment.p_offset) -
               static_cast<std::uintptr_t>(segment.p_vaddr);
    }
    return best >= 0;
}

void name_functions(const Image& image, Wanted* wanted, std::size_t count) {
    Header header;
    if (!read_header(image, header) || header.e_shentsize != sizeof(Section)) return;
    for (Wanted* one = wanted; one != wanted + count; ++one) one->name_at = 0;
    // The full table first: it has the static functions too.
    for (const unsigned type : {SHT_SYMTAB, SHT_DYNSYM}) {
        for (unsigned i = 0; i < header.e_shnum; ++i) {
            Section symbols, names;
            if (image.read(header.e_shoff + std::uint64_t{i} * sizeof symbols, &symbols, sizeof symbols) != sizeof symbols) return;
            if (symbols.sh_type != type || symbols.sh_entsize != sizeof(Symbol)) continue;
            if (image.read(header.e_shoff + std::uint64_t{symbols.sh_link} * sizeof names, &names, sizeof names) != sizeof names) continue;
            search(image, symbols, names.sh_offset, wanted, count);
        }
    }
    for (Wanted* one = wanted; one != wanted + count; ++one)
        if (one->name_at != 0) take_name(image, *one);
}

}  // namespace mpmm::elf
