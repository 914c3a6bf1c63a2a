// SPDX-License-Identifier: Apache-2.0
// The long text that a report is made in, and the words of its facts.
#include "verify/error.hpp"
#include "verify/threads.hpp"

#include <cstring>

namespace mpmm::report {

void set_place(Error& error, const unwind::Registers& site, bool exact_pc) {
    error.thread = verify_threads::number();
    error.stack.count = unwind::capture(site, exact_pc, error.stack.frames, stack_depot::max_frames);
}

Writer& Writer::text(const char* string) { return text(string, std::strlen(string)); }

Writer& Writer::text(const char* string, std::size_t length) {
    if (length > capacity_ - size_) length = capacity_ - size_;
    std::memcpy(buffer_ + size_, string, length);
    size_ += length;
    buffer_[size_] = 0;
    return *this;
}

Writer& Writer::decimal(std::uint64_t value) { return text(Line().decimal(value).c_str()); }
Writer& Writer::hex(std::uint64_t value) { return text(Line().hex(value).c_str()); }

Writer& Writer::byte(std::byte value) {
    const auto bits = static_cast<unsigned>(value);
    const char digits[2] = {"0123456789abcdef"[bits / 16], "0123456789abcdef"[bits % 16]};
    return text(digits, 2);
}

Writer& Writer::quoted(const char* string) {
    text("\"");
    for (; *string != 0; ++string) {
        const auto character = static_cast<unsigned char>(*string);
        if (character == '"' || character == '\\') text("\\").text(string, 1);
        else if (character < ' ' || character > '~') text("\\u00").byte(std::byte{character});
        else text(string, 1);
    }
    return text("\"");
}

const char* name(Family family) {
    switch (family) {
        case Family::malloc: return "malloc";
        case Family::new_single: return "new";
        case Family::new_array: return "new[]";
        case Family::new_aligned: return "aligned new";
        case Family::new_array_aligned: return "aligned new[]";
    }
    return "unknown";
}

const char* allocated_by(Family family) {
    switch (family) {
        case Family::malloc: return "malloc";
        case Family::new_single: return "operator new";
        case Family::new_array: return "operator new[]";
        case Family::new_aligned: return "operator new with alignment";
        case Family::new_array_aligned: return "operator new[] with alignment";
    }
    return "unknown";
}

const char* freed_by(Family family) {
    switch (family) {
        case Family::malloc: return "free";
        case Family::new_single: return "operator delete";
        case Family::new_array: return "operator delete[]";
        case Family::new_aligned: return "operator delete with alignment";
        case Family::new_array_aligned: return "operator delete[] with alignment";
    }
    return "unknown";
}

}  // namespace mpmm::report
