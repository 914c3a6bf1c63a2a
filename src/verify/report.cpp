// SPDX-License-Identifier: Apache-2.0
#include "verify/report.hpp"

#include "platform/os.hpp"
#include "verify/options.hpp"
#include "verify/policy.hpp"

#include <cstring>
#include <unistd.h>

namespace mpmm::report {
namespace {

/// Release says "ERROR: mpmm: …"; verify puts the process in front, as AddressSanitizer's readers expect.
Line& begin(Line& line) {
    if constexpr (BuildVerify::enabled) line.text("==").decimal(static_cast<std::uint64_t>(os::process_id())).text("==");
    return line.text("ERROR: mpmm: ");
}

void finish(Line& line) {
    line.print();
    // The error may come before the first allocation, and what to do about it is the environment's choice.
    options::load_environment();
    if (options::get(options::halt_on_error) == 0) return;
    if (const std::uint64_t code = options::get(options::exitcode); code != 0) ::_exit(static_cast<int>(code));
    os::abort();
}

}  // namespace

const char* name(Kind kind) {
    switch (kind) {
        case Kind::double_free: return "double-free";
        case Kind::invalid_free: return "invalid-free";
        case Kind::size_mismatch: return "size-mismatch";
        case Kind::alloc_dealloc_mismatch: return "alloc-dealloc-mismatch";
        case Kind::heap_buffer_overflow: return "heap-buffer-overflow";
        case Kind::heap_buffer_underflow: return "heap-buffer-underflow";
        case Kind::heap_use_after_free: return "heap-use-after-free";
        case Kind::allocator_corruption: return "allocator-corruption";
        case Kind::leak: return "leak";
    }
    return "unknown";
}

void user_error(Kind kind, const void* address) {
    Line line;
    begin(line).text(name(kind)).text(" on address ").address(address);
    finish(line);
}

void corruption(const char* invariant, const void* where, std::uint64_t found, std::uint64_t expected) {
    Line line;
    begin(line).text(name(Kind::allocator_corruption)).text(" on address ").address(where).text(": ").text(invariant);
    line.text(": found ").hex(found).text(", expected ").hex(expected);
    finish(line);
}

void backend_misbehaved(const char* what, const void* address, std::size_t size) {
    Line line;
    begin(line).text("backend ").text(what).text(" (address ").address(address).text(", ").decimal(size).text(" bytes)");
    line.print();
}

void bad_option(const char* what, const char* text, std::size_t length) {
    Line line;
    begin(line).text("option: ").text(what).text(" '").text(text, length).text("'; see MPMM_OPTIONS=help=1").print();
}

void cannot_throw(std::size_t size) {
    Line line;
    begin(line).text("operator new: out of memory (").decimal(size).text(" bytes), and no C++ runtime to throw std::bad_alloc").print();
    os::abort();
}

Line& Line::text(const char* string) { return text(string, std::strlen(string)); }

Line& Line::text(const char* string, std::size_t length) {
    const std::size_t room = sizeof buffer_ - 1 - size_;
    if (length > room) length = room;
    std::memcpy(buffer_ + size_, string, length);
    size_ += length;
    return *this;
}

Line& Line::decimal(std::uint64_t value) {
    char digits[20];
    std::size_t count = 0;
    do digits[sizeof digits - ++count] = static_cast<char>('0' + value % 10);
    while ((value /= 10) != 0);
    return text(digits + sizeof digits - count, count);
}

Line& Line::hex(std::uint64_t value) {
    char digits[16];
    std::size_t count = 0;
    do digits[sizeof digits - ++count] = "0123456789abcdef"[value % 16];
    while ((value /= 16) != 0);
    return text("0x").text(digits + sizeof digits - count, count);
}

Line& Line::address(const void* pointer) { return hex(reinterpret_cast<std::uintptr_t>(pointer)); }

void Line::print(int descriptor) {
    buffer_[size_++] = '\n';
    os::write(descriptor, buffer_, size_);
    size_ = 0;
}

}  // namespace mpmm::report
