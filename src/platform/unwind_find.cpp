// SPDX-License-Identifier: Apache-2.0
// From a code address to its unwind table entry: the loaded object, the search table in its .eh_frame_hdr, the FDE and its CIE in .eh_frame.
// Every read stays inside the segment that the program headers give for them. Takes no lock where the C library has _dl_find_object.
#include "platform/unwind_rule.hpp"

#ifdef MPMM_UNWIND_BY_TABLES

#include "platform/unwind_cursor.hpp"
#include "platform/unwind_signal32.hpp"
#include "platform/unwind_stack.hpp"

#include <cerrno>
#include <elf.h>
#include <link.h>
#include <sys/auxv.h>

namespace mpmm::unwind {
namespace {

/// glibc's struct dl_find_object, which the headers of older versions and of other C libraries lack.
struct Found {
    unsigned long long flags;
    void *map_start, *map_end;
    const link_map* map;
    void* eh_frame_hdr;
    unsigned long long reserved[7];
};
extern "C" int find_object(void* address, Found* result) __asm__("_dl_find_object") __attribute__((weak));

/// Where an object's tables lie; all 0 when it has none.
struct Tables {
    std::uintptr_t header = 0, header_end = 0;  // .eh_frame_hdr
    std::uintptr_t low = 0, high = 0;           // the segment it lies in, and .eh_frame with it
};

Tables tables_of(const ElfW(Phdr) * headers, std::size_t count, std::uintptr_t bias) {
    Tables tables;
    for (std::size_t i = 0; i < count; ++i) {
        if (headers[i].p_type != PT_GNU_EH_FRAME) continue;
        tables.header = bias + headers[i].p_vaddr;
        tables.header_end = tables.header + headers[i].p_memsz;
    }
    for (std::size_t i = 0; i < count; ++i) {
        const std::uintptr_t low = bias + headers[i].p_vaddr, high = low + headers[i].p_filesz;
        if (headers[i].p_type == PT_LOAD && (headers[i].p_flags & PF_R) != 0 && low <= tables.header && tables.header_end <= high &&
            tables.header < tables.header_end) {
            tables.low = low;
            tables.high = high;
            return tables;
        }
    }
    return {};
}

/// The same from program headers in memory. False unless they can be read and are those of the object with this .eh_frame_hdr.
bool tables_from(std::uintptr_t headers, std::size_t count, const Found& found, Tables& tables) {
    if (!StackReader::readable(headers, count * sizeof(ElfW(Phdr)))) return false;
    tables = tables_of(reinterpret_cast<const ElfW(Phdr)*>(headers), count, found.map->l_addr);
    return tables.header != 0 && tables.header == reinterpret_cast<std::uintptr_t>(found.eh_frame_hdr);
}
bool tables_from_elf(std::uintptr_t start, const Found& found, Tables& tables) {
    if (!StackReader::readable(start, sizeof(ElfW(Ehdr)))) return false;
    const auto& elf = *reinterpret_cast<const ElfW(Ehdr)*>(start);
    return std::memcmp(elf.e_ident, ELFMAG, SELFMAG) == 0 && elf.e_phentsize == sizeof(ElfW(Phdr)) &&
           tables_from(start + elf.e_phoff, elf.e_phnum, found, tables);
}

/// The object's own copy of its program headers follows the ELF header, with which every linker lets the first segment begin. What was
/// found begins there, or is only one segment when there are gaps between them: then the object may begin at its load address, or be
/// the program, whose headers the system tells.
Tables tables_of(const Found& found) {
    Tables tables;
    if (found.eh_frame_hdr == nullptr) return {};
    if (tables_from_elf(reinterpret_cast<std::uintptr_t>(found.map_start), found, tables)) return tables;
    if (tables_from_elf(found.map->l_addr, found, tables)) return tables;
    const int saved = errno;
    const std::uintptr_t headers = ::getauxval(AT_PHDR), count = ::getauxval(AT_PHNUM);
    errno = saved;
    return tables_from(headers, count, found, tables) ? tables : Tables{};
}

struct Question {
    std::uintptr_t at;
    bool known = false;
    Tables tables;
};

int ask(dl_phdr_info* info, std::size_t, void* argument) {
    auto& question = *static_cast<Question*>(argument);
    for (std::size_t i = 0; i < info->dlpi_phnum; ++i) {
        const ElfW(Phdr)& header = info->dlpi_phdr[i];
        if (header.p_type != PT_LOAD || question.at - (info->dlpi_addr + header.p_vaddr) >= header.p_memsz) continue;
        question.known = true;
        question.tables = tables_of(info->dlpi_phdr, info->dlpi_phnum, info->dlpi_addr);
        return 1;
    }
    return 0;
}

/// The address of the FDE that may cover `at`: the last one in the sorted table that begins at or before it. 0 when there is none.
std::uintptr_t search(const Tables& tables, std::uintptr_t at) {
    constexpr std::uint8_t omitted = 0xFF, data_relative_32 = 0x3B;
    struct Entry {
        std::int32_t start, fde;
    };
    Cursor header(tables.header, tables.header_end);
    const std::uint8_t version = header.byte(), frame_encoding = header.byte(), count_encoding = header.byte(),
                       table_encoding = header.byte();
    if (version != 1 || table_encoding != data_relative_32 || count_encoding == omitted) return 0;
    if (frame_encoding != omitted) header.pointer(frame_encoding, tables.header);
    std::uint64_t count = header.pointer(count_encoding, tables.header);
    if (!header.ok() || count > (header.end() - header.at()) / sizeof(Entry) || header.at() % alignof(Entry) != 0) return 0;
    const auto* const entries = reinterpret_cast<const Entry*>(header.at());
    const auto wanted = static_cast<std::intptr_t>(at - tables.header);
    std::uint64_t first = 0;  // entries before it begin at or before `at`
    while (count != 0) {
        const std::uint64_t half = count / 2;
        if (entries[first + half].start <= wanted) {
            first += half + 1;
            count -= half + 1;
        } else {
            count = half;
        }
    }
    return first == 0 ? 0 : tables.header + static_cast<std::uintptr_t>(std::intptr_t{entries[first - 1].fde});
}

/// The contents of the CIE or FDE at `address`, past its length.
Cursor entry(const Tables& tables, std::uintptr_t address) {
    Cursor outer(address, tables.high);
    if (address < tables.low) outer.fail();
    const auto length = outer.fixed<std::uint32_t>();
    // 0 is the end of the section; all ones begin the 64-bit form, which nobody writes.
    if (length == 0 || length == 0xFFFFFFFFu) outer.fail();
    Cursor inner = outer.part(length);
    if (!outer.ok()) inner.fail();
    return inner;
}

struct Common {
    Program program{};
    bool augmented = false;
};

bool read_cie(const Tables& tables, std::uintptr_t address, Common& common) {
    Cursor cie = entry(tables, address);
    const auto id = cie.fixed<std::uint32_t>();
    const std::uint8_t version = cie.byte();
    if (!cie.ok() || id != 0 || (version != 1 && version != 3)) return false;
    const std::uintptr_t augmentation = cie.at();
    while (cie.byte() != 0) {
    }
    Program& program = common.program;
    program.code_factor = cie.uleb();
    program.data_factor = cie.sleb();
    const std::uint64_t return_register = version == 1 ? cie.byte() : cie.uleb();
    if (!cie.ok() || return_register != Machine::back) return false;
    const auto* letter = reinterpret_cast<const char*>(augmentation);
    if (*letter == 'z') {
        common.augmented = true;
        Cursor data = cie.part(cie.uleb());
        for (++letter; *letter != 0; ++letter) {
            switch (*letter) {
                case 'R': program.encoding = data.byte(); break;
                case 'P': data.plain(data.byte()); break;
                case 'L': data.byte(); break;
                case 'S': program.signal_frame = true; break;
                default: return false;
            }
        }
        if (!data.ok()) return false;
    } else if (*letter != 0) {
        return false;
    }
    program.common = cie.at();
    program.common_end = cie.end();
    return cie.ok();
}

/// Whether the code at `at` makes the system call that ends a signal handler.
bool is_signal_return(std::uintptr_t at) {
#if defined(__x86_64__)
    // mov $15, %rax; syscall
    constexpr unsigned char code[] = {0x48, 0xC7, 0xC0, 0x0F, 0, 0, 0, 0x0F, 0x05};
    return StackReader::holds(at, code);
#else
    return SignalReturn32::is_plain(at) || SignalReturn32::is_with_info(at);
#endif
}

Row row_in(const Tables& tables, std::uintptr_t at) {
    const std::uintptr_t address = search(tables, at);
    if (address == 0) return {};
    Cursor fde = entry(tables, address);
    const std::uintptr_t field = fde.at();
    const auto distance = fde.fixed<std::uint32_t>();
    Common common;
    if (!fde.ok() || distance == 0 || !read_cie(tables, field - distance, common)) return {};
    Program& program = common.program;
    program.start = static_cast<std::uintptr_t>(fde.pointer(program.encoding, 0));
    const std::uint64_t length = fde.plain(program.encoding & 0x0F);
    if (common.augmented) fde.part(fde.uleb());
    if (!fde.ok() || at - program.start >= length) return {};
    program.own = fde.at();
    program.own_end = fde.end();
    // A return address is looked up by the byte before it, interrupted code by itself.
    if (program.signal_frame && (is_signal_return(at + 1) || is_signal_return(at))) {
        Row row;
        row.kind = Kind::signal;
        return row;
    }
    return run(program, at);
}

}  // namespace

Row find_row(std::uintptr_t at) {
    Row row;
    bool known = false;
    Tables tables;
    if (find_object != nullptr) {
        Found found{};
        known = find_object(reinterpret_cast<void*>(at), &found) == 0;
        if (known) tables = tables_of(found);
        // Objects that appear later are not announced; what is in none now is asked for again.
        row.lasting = known;
    } else {
        Question question{at, false, {}};
        ::dl_iterate_phdr(ask, &question);
        known = question.known;
        tables = question.tables;
    }
    if (tables.header != 0) row = row_in(tables, at);
    if (row.kind == Kind::unknown && (is_signal_return(at + 1) || is_signal_return(at))) row.kind = Kind::signal;
    return row;
}

}  // namespace mpmm::unwind

#endif
