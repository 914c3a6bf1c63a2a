// SPDX-License-Identifier: Apache-2.0
// See symbolizer_tool.hpp.
#include "verify/symbolizer_tool.hpp"

#include "platform/os.hpp"
#include "platform/signal_safe.hpp"

#include <new>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

namespace mpmm::symbolize {
namespace {

/// On average; an answer is a few lines, and what sends more than this is no symboliser.
constexpr std::size_t longest_answer = 16 * 1024;

bool can_run(const char* path) {
    struct stat status;
    return ::stat(path, &status) == 0 && S_ISREG(status.st_mode) && ::access(path, X_OK) == 0;
}

bool in_folder(const char* folder, std::size_t folder_length, const char* name, Tool& tool) {
    const std::size_t name_length = std::strlen(name);
    // What lies in the current folder is not the user's choice.
    if (folder_length == 0 || folder[0] != '/' || folder_length + 1 + name_length >= sizeof tool.path) return false;
    std::memcpy(tool.path, folder, folder_length);
    tool.path[folder_length] = '/';
    std::memcpy(tool.path + folder_length + 1, name, name_length + 1);
    return can_run(tool.path);
}

bool in_path(const char* name, Tool& tool) {
    for (const char* folder = os::environment("PATH"); folder != nullptr;) {
        const char* const end = std::strchr(folder, ':');
        if (in_folder(folder, end != nullptr ? static_cast<std::size_t>(end - folder) : std::strlen(folder), name, tool)) return true;
        folder = end != nullptr ? end + 1 : nullptr;
    }
    constexpr char standard[] = "/usr/bin";
    return in_folder(standard, sizeof standard - 1, name, tool);
}

bool first_of_all(Tool& tool) {
    if (in_path("llvm-symbolizer", tool)) return true;
    char versioned[] = "llvm-symbolizer-NN";
    for (int version = 21; version >= 14; --version) {
        versioned[sizeof versioned - 3] = static_cast<char>('0' + version / 10);
        versioned[sizeof versioned - 2] = static_cast<char>('0' + version % 10);
        if (in_path(versioned, tool)) return true;
    }
    return in_path("addr2line", tool);
}

/// Takes the number at the end of [text, end) and the colon before it away. False when there is none; "?" is 0.
bool take_number(const char* text, const char*& end, unsigned& number) {
    const char* digit = end;
    std::uint64_t value = 0, weight = 1;
    if (digit > text && digit[-1] == '?') --digit;
    for (; digit > text && digit[-1] >= '0' && digit[-1] <= '9'; --digit) {
        // Longer numbers are no lines.
        if (weight > 1'000'000'000) return false;
        value += weight * static_cast<std::uint64_t>(digit[-1] - '0');
        weight *= 10;
    }
    if (digit == end || digit == text || digit[-1] != ':') return false;
    number = static_cast<unsigned>(value);
    end = digit - 1;
    return true;
}

bool is_unknown(const char* text, std::size_t length) { return length == 0 || (length == 2 && std::memcmp(text, "??", 2) == 0); }
/// 32-bit code leaves the targets of jump tables in the symbol table, and llvm-symbolizer takes them for functions.
bool is_label(const char* text, std::size_t length) { return length > 2 && std::memcmp(text, ".L", 2) == 0; }

/// The conversation with the tool.
class Talk {
  public:
    /// About the addresses in `module` (number + 1), or all for 0.
    Talk(Store& store, std::uint32_t module) : store_(store), module_(module) {}

    child_process::Outcome run(const char* path, const char* const* arguments, unsigned silence_ms) {
        const child_process::Dialogue dialogue{
            [](void* self, char* buffer, std::size_t room) { return static_cast<Talk*>(self)->supply(buffer, room); },
            [](void* self, const char* data, std::size_t size) { return static_cast<Talk*>(self)->receive(data, size); }, this, pieces_,
            sizeof pieces_};
        return child_process::run(path, arguments, dialogue, silence_ms);
    }

  private:
    bool asked(std::size_t index) const {
        const Address& address = store_.addresses[index];
        return module_ == 0 ? writable_question(address) : address.module == module_;
    }
    /// A line of input has no escapes: a path needs one kind of quotes that is not in it, and no newline.
    bool writable_question(const Address& address) const {
        if (!store_.askable(address)) return false;
        const char* const path = store_.string(store_.modules[address.module - 1].query);
        return std::strchr(path, '\n') == nullptr && (std::strchr(path, '"') == nullptr || std::strchr(path, '\'') == nullptr);
    }

    std::size_t supply(char* buffer, std::size_t room) {
        std::size_t size = 0;
        for (; to_ask_ < store_.address_count; ++to_ask_) {
            if (!asked(to_ask_)) continue;
            const Address& address = store_.addresses[to_ask_];
            const char* const path = store_.string(store_.modules[address.module - 1].query);
            const std::size_t length = module_ == 0 ? std::strlen(path) : 0;
            if (size + length + 3 + 2 * 19 > room) break;
            if (module_ == 0) {
                const char quote = std::strchr(path, '"') == nullptr ? '"' : '\'';
                buffer[size] = quote;
                std::memcpy(buffer + size + 1, path, length);  // NOLINT(bugprone-not-null-terminated-result): more follows
                buffer[size + 1 + length] = quote;
                buffer[size + 2 + length] = ' ';
                size += length + 3;
            }
            // addr2line (binutils 2.40) gives an inlined function the name of the one around it when it meets that for the first time.
            for (int times = module_ == 0 ? 1 : 2; times != 0; --times) {
                size += hex(store_.in_file(address), buffer + size);
                buffer[size++] = '\n';
            }
        }
        return size;
    }
    static std::size_t hex(std::uintptr_t value, char* to) {
        char digits[16];
        std::size_t count = 0;
        do digits[count++] = "0123456789abcdef"[value % 16];
        while ((value /= 16) != 0);
        to[0] = '0';
        to[1] = 'x';
        for (std::size_t i = 0; i < count; ++i) to[2 + i] = digits[count - 1 - i];
        return 2 + count;
    }

    bool receive(const char* data, std::size_t size) {
        received_ += size;
        if (received_ / longest_answer > store_.address_count + 64) return false;
        for (const char* const end = data + size; data != end; ++data) {
            if (*data == '\n') {
                line(line_, line_size_);
                line_size_ = 0;
            } else if (line_size_ < sizeof line_) {
                // The rest of a longer line is lost: a location then has no number at its end and is none.
                line_[line_size_++] = *data;
            }
        }
        return true;
    }

    void line(const char* text, std::size_t length) {
        if (length != 0 && text[length - 1] == '\r') --length;
        if (have_function_) {
            location(text, length);
            have_function_ = false;
        } else if (length > 2 && text[0] == '0' && text[1] == 'x') {
            current_ = find(text + 2, text + length);
        } else if (length != 0 && current_ != nullptr) {
            function_ = is_unknown(text, length) || is_label(text, length) ? 0 : store_.keep_readable(text, length);
            have_function_ = true;
        }
    }
    /// The question that the tool now answers: at or after the last one, as it answers in order.
    Address* find(const char* digits, const char* end) {
        std::uintptr_t value = 0;
        for (; digits != end; ++digits) {
            const char c = *digits;
            const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
            if (digit < 0) return nullptr;
            value = value * 16 + static_cast<std::uintptr_t>(digit);
        }
        if (module_ != 0 && current_ != nullptr && store_.in_file(*current_) == value) {
            // The second answer is the right one; nothing was stored after the first.
            store_.forget(*current_, text_before_);
            return current_;
        }
        text_before_ = store_.text_size;
        // An answer to what has not been asked yet is none.
        for (std::size_t i = to_answer_; i < to_ask_; ++i) {
            if (!asked(i) || store_.in_file(store_.addresses[i]) != value) continue;
            to_answer_ = i + 1;
            return store_.addresses + i;
        }
        return nullptr;
    }
    void location(const char* text, std::size_t length) {
        const char* end = text + length;
        constexpr char discriminator[] = " (discriminator ";
        if (length != 0 && end[-1] == ')')
            for (const char* at = end - 1; at > text; --at)
                if (static_cast<std::size_t>(end - at) >= sizeof discriminator - 1 &&
                    std::memcmp(at, discriminator, sizeof discriminator - 1) == 0) {
                    end = at;
                    break;
                }
        unsigned line = 0, column = 0;
        const bool complete = module_ == 0 ? take_number(text, end, column) && take_number(text, end, line) : take_number(text, end, line);
        Text file = 0;
        if (complete && !is_unknown(text, static_cast<std::size_t>(end - text)))
            file = store_.keep_readable(text, static_cast<std::size_t>(end - text));
        if (file == 0) line = column = 0;
        if (file != 0 || function_ != 0) store_.append(*current_, function_, file, line, column);
    }

    Store& store_;
    std::uint32_t module_;  ///< then it is addr2line
    std::size_t to_ask_ = 0, to_answer_ = 0, received_ = 0;
    Address* current_ = nullptr;
    std::size_t text_before_ = 0;  ///< it was answered
    bool have_function_ = false;
    Text function_ = 0;
    std::size_t line_size_ = 0;
    char line_[Store::longest_path * 2];
    // Half of it must hold the longest question.
    char pieces_[(Store::longest_path + 32) * 2];
};

/// Talks at an address of its own: 16 KiB are too much for a signal's stack.
child_process::Outcome talk(Store& store, std::uint32_t module, const char* path, const char* const* arguments, unsigned silence_ms) {
    const std::size_t page = os::page_size(), size = (sizeof(Talk) + page - 1) / page * page;
    void* const memory = os::map(size, nullptr);
    if (memory == nullptr) return child_process::Outcome::not_started;
    Talk* const talk = ::new (memory) Talk(store, module);
    const child_process::Outcome outcome = talk->run(path, arguments, silence_ms);
    os::unmap(memory, size);
    return outcome;
}

}  // namespace

bool find_tool(const char* name, Tool& tool) {
    const KeepErrno keep;
    // A program with more rights than its user must not run what the user's PATH names.
    if (::getauxval(AT_SECURE) != 0) return false;
    bool found;
    if (name == nullptr || name[0] == '\0') {
        found = first_of_all(tool);
    } else if (std::strcmp(name, "0") == 0) {
        return false;
    } else if (std::strchr(name, '/') == nullptr) {
        found = in_path(name, tool);
    } else {
        const std::size_t length = std::strlen(name);
        if (length >= sizeof tool.path) return false;
        std::memcpy(tool.path, name, length + 1);
        found = can_run(tool.path);
    }
    const char* const slash = std::strrchr(tool.path, '/');
    tool.is_addr2line = found && std::strstr(slash != nullptr ? slash : tool.path, "addr2line") != nullptr;
    return found;
}

child_process::Outcome ask(const Tool& tool, Store& store, unsigned silence_ms) {
    using child_process::Outcome;
    if (!tool.is_addr2line) {
        const char* const arguments[] = {tool.path, "--addresses", "--inlines", "--demangle", "--functions=linkage", "--output-style=LLVM",
                                         nullptr};
        for (const Address* address = store.addresses; address != store.addresses + store.address_count; ++address)
            if (store.askable(*address)) return talk(store, 0, tool.path, arguments, silence_ms);
        return Outcome::ended;
    }
    for (std::uint32_t module = 1; module <= store.module_count; ++module) {
        const Text query = store.modules[module - 1].query;
        if (query == 0) continue;
        const char* const arguments[] = {tool.path, "-a", "-f", "-C", "-i", "-e", store.string(query), nullptr};
        const Outcome outcome = talk(store, module, tool.path, arguments, silence_ms);
        if (outcome != Outcome::ended) return outcome;
    }
    return Outcome::ended;
}

}  // namespace mpmm::symbolize
