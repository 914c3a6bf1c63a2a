// SPDX-License-Identifier: Apache-2.0
#include "verify/report.hpp"

#include "platform/lock.hpp"
#include "platform/os.hpp"
#include "platform/signal_safe.hpp"
#include "verify/error.hpp"
#include "verify/options.hpp"
#include "verify/policy.hpp"

#include <cstring>

namespace mpmm::report {
namespace {

constinit mpmm_debugger_callbacks callbacks{};
constinit int spare = -1;  // standard error as it was at start-up

/// Where reports go.
class Output {
  public:
    Output() {
        if (const char* const path = options::get(options::log_path); *path != 0) descriptor_ = os::open_log(path);
    }
    ~Output() {
        if (descriptor_ >= 0) os::close(descriptor_);
    }
    Output(const Output&) = delete;
    Output& operator=(const Output&) = delete;
    void write(const char* text, std::size_t size) const {
        // Many programs close standard error before they end.
        const int standard = spare >= 0 && !os::is_open(2) ? spare : 2;
        os::write(descriptor_ >= 0 ? descriptor_ : standard, text, size);
    }

  private:
    int descriptor_ = -1;
};

/// Release says "ERROR: mpmm: …"; verify puts the process in front, as AddressSanitizer's readers expect.
Line& begin(Line& line) {
    if constexpr (BuildVerify::enabled) line.text("==").decimal(static_cast<std::uint64_t>(os::process_id())).text("==");
    return line.text("ERROR: mpmm: ");
}

void stop() {
    if (options::get(options::halt_on_error) == 0) return;
    if (const std::uint64_t code = options::get(options::exitcode); code != 0) os::exit_now(static_cast<int>(code));
    os::abort();
}

void tell(void (*callback)(void*, const char*), const char* text) {
    const NoCancellation whole;
    if (callback != nullptr) return callback(callbacks.context, text);
    const Output out;
    out.write(text, std::strlen(text));
    out.write("\n", 1);
}

void warn(const char* text) { tell(callbacks.warning, text); }

/// The short form: release's, and what is left when a report fails within a report.
void error_line(Kind kind, const void* address, const Line& line) {
    if (callbacks.error == nullptr) return tell(nullptr, line.c_str());
    const mpmm_debugger_error error{sizeof error, name(kind), address, nullptr, 0, line.c_str()};
    callbacks.error(callbacks.context, &error);
}

}  // namespace

Reporting::Reporting() : id_(static_cast<std::uint32_t>(os::thread_id())) {
    std::uint32_t other = 0;
    while (!holder_.compare_exchange_strong(other, id_, acquire, acquire)) {
        if (other == id_) {
            nested_ = true;
            return;
        }
        os::wait(holder_, other);
        other = 0;
    }
}

Reporting::~Reporting() {
    if (nested_) return;
    holder_.store(0, release);
    os::wake_one(holder_);
}

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

void error(const Error& told) { error(told, Reporting()); }

void error([[maybe_unused]] const Error& error, [[maybe_unused]] const Reporting& reporting) {
    options::load_environment();
    if constexpr (BuildVerify::enabled) {
        static char buffer[256 * 1024];
        const NoCancellation whole;
        if (reporting.nested()) {
            Line line;
            error_line(error.kind, error.address,
                       begin(line).text(name(error.kind)).text(" on address ").address(error.address).text(" (while reporting another)"));
        } else {
            Writer text(buffer, sizeof buffer);
            const bool json = std::strcmp(options::get(options::report_format), "json") == 0;
            json ? write_json(text, error) : write_text(text, error);
            if (callbacks.error != nullptr) {
                const mpmm_debugger_error told{sizeof told,
                                               name(error.kind),
                                               error.address,
                                               error.has_block ? error.block.begin : nullptr,
                                               error.has_block ? error.block.size : 0,
                                               text.begin()};
                callbacks.error(callbacks.context, &told);
            } else {
                const Output out;
                out.write(text.begin(), text.size());
            }
        }
        // Leaks are found when the program is done: the caller decides.
        if (error.kind == Kind::leak) return;
        stop();
    }
}

void user_error(Kind kind, const void* address) {
    if constexpr (BuildVerify::enabled) {
        Error told;
        told.kind = kind;
        told.address = address;
        set_place(told, unwind::caller());
        report::error(told);
    } else {
        // The error may come before the first allocation, and what to do about it is the environment's choice.
        options::load_environment();
        Line line;
        error_line(kind, address, begin(line).text(name(kind)).text(" on address ").address(address));
        stop();
    }
}

void corruption(const char* invariant, const void* where, std::uint64_t found, std::uint64_t expected) {
    Line line;
    line.text(invariant).text(": found ").hex(found).text(", expected ").hex(expected);
    if constexpr (BuildVerify::enabled) {
        Error told;
        told.address = where;
        told.what = line;
        told.invariant = invariant;
        told.found = found;
        told.expected = expected;
        set_place(told, unwind::caller());
        report::error(told);
    } else {
        options::load_environment();
        Line whole;
        begin(whole).text(name(Kind::allocator_corruption)).text(" on address ").address(where).text(": ").text(line.c_str());
        error_line(Kind::allocator_corruption, where, whole);
        stop();
    }
}

void note(const char* text, std::uint64_t value) {
    Line line;
    line.text("mpmm: ").text(text);
    if (value != 0) line.text(" ").decimal(value);
    tell(callbacks.message, line.c_str());
}

void backend_misbehaved(const char* what, const void* address, std::size_t size) {
    Line line;
    begin(line).text("backend ").text(what).text(" (address ").address(address).text(", ").decimal(size).text(" bytes)");
    warn(line.c_str());
}

void bad_option(const char* what, const char* text, std::size_t length) {
    Line line;
    warn(begin(line).text("option: ").text(what).text(" '").text(text, length).text("'; see MPMM_OPTIONS=help=1").c_str());
}

void cannot_throw(std::size_t size) {
    Line line;
    begin(line).text("operator new: out of memory (").decimal(size).text(" bytes), and no C++ runtime to throw std::bad_alloc").print();
    os::abort();
}

void set_callbacks(const mpmm_debugger_callbacks& given) { callbacks = given; }

void prepare() { spare = os::spare_error_output(); }

void reset_after_fork() { Reporting::reset_after_fork(); }

Line& Line::text(const char* string) { return text(string, std::strlen(string)); }

Line& Line::text(const char* string, std::size_t length) {
    const std::size_t room = sizeof buffer_ - 2 - size_;
    if (length > room) length = room;
    std::memcpy(buffer_ + size_, string, length);
    size_ += length;
    buffer_[size_] = 0;
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
