// SPDX-License-Identifier: Apache-2.0
// What is known about the addresses of one report while it is being found out: flat tables with fixed ends, in memory of its own. What does
// not fit is left out, so that a report gets shorter names and never an overflow.
//
//   Address ──module──> Module ──path, query──┐
//      └──first──> Record ──next──> Record    ├──> text: strings one after the other; number 0 is ""
//                     └──function, file───────┘
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace mpmm::symbolize {

using Text = std::uint32_t;

struct Module {
    std::uintptr_t base;
    std::uintptr_t start;  ///< of the mapping
    std::uintptr_t end;
    Text path;   ///< for people
    Text query;  ///< for open(); 0 when there is no file
};

/// A function at an address; the innermost first, linked to the one it was inlined into.
struct Record {
    std::uint32_t next;  ///< its number + 1, or 0
    Text function;
    Text file;
    unsigned line;
    unsigned column;
};

/// One of the different addresses.
struct Address {
    std::uintptr_t lookup;  ///< within the call
    std::uint32_t module;   ///< its number + 1, or 0
    std::uint32_t first;    ///< the number + 1 of its innermost record, or 0
    std::uint32_t last;
};

struct Store {
    static constexpr std::size_t max_addresses = 1024, max_modules = 256, max_records = 8 * max_addresses, text_room = std::size_t{1} << 20;
    static constexpr std::size_t longest_name = 1000, longest_path = 4096;

    std::size_t address_count, module_count, record_count, text_size;
    Address addresses[max_addresses];
    Module modules[max_modules];
    Record records[max_records];
    char text[text_room];

    void clear() {
        address_count = module_count = record_count = 0;
        text[0] = '\0';
        text_size = 1;
    }

    /// Keeps a string as it is. 0 when it does not fit.
    Text keep(const char* string, std::size_t length) {
        if (length == 0 || length >= text_room - text_size) return 0;
        char* const place = text + text_size;
        std::memcpy(place, string, length);
        place[length] = '\0';
        const auto number = static_cast<Text>(text_size);
        text_size += length + 1;
        return number;
    }
    /// Keeps a string for people: cut, and without characters that could forge a line of the report or command a terminal.
    Text keep_readable(const char* string, std::size_t length) {
        const bool cut = length > longest_name;
        const Text number = keep(string, cut ? longest_name : length);
        if (number == 0) return 0;
        for (char* c = text + number; *c != '\0'; ++c)
            if (static_cast<unsigned char>(*c) < ' ' || *c == '\x7f') *c = '?';
        if (cut) std::memcpy(text + number + longest_name - 3, "...", 3);
        return number;
    }
    const char* string(Text number) const { return text + number; }

    /// Adds a function to an address, outside of what it has. False when the table is full.
    bool append(Address& address, Text function, Text file, unsigned line, unsigned column) {
        if (record_count == max_records) return false;
        records[record_count++] = {0, function, file, line, column};
        const auto number = static_cast<std::uint32_t>(record_count);
        if (address.first == 0) address.first = number;
        else records[address.last - 1].next = number;
        address.last = number;
        return true;
    }
    /// Takes the functions of an address back, which must be the newest, and the text since `text_before`.
    void forget(Address& address, std::size_t text_before) {
        if (address.first != 0) record_count = address.first - 1;
        address.first = address.last = 0;
        text_size = text_before;
    }
    /// Whether a program can be asked about it.
    bool askable(const Address& address) const { return address.module != 0 && modules[address.module - 1].query != 0; }
    std::uintptr_t in_file(const Address& address) const { return address.lookup - modules[address.module - 1].base; }
};

}  // namespace mpmm::symbolize
