// SPDX-License-Identifier: Apache-2.0
// See modules.hpp.
#include "platform/modules.hpp"

#include "platform/elf.hpp"
#include "platform/os.hpp"
#include "platform/signal_safe.hpp"

#include <cstring>
#include <fcntl.h>
#include <unistd.h>

namespace mpmm::modules {
namespace {

constexpr char deleted_mark[] = " (deleted)";

bool number(const char*& text, unsigned radix, char stop, std::uint64_t& value) {
    value = 0;
    for (; *text != stop; ++text) {
        const char c = *text;
        const unsigned digit = c >= '0' && c <= '9'   ? static_cast<unsigned>(c - '0')
                               : c >= 'a' && c <= 'f' ? static_cast<unsigned>(c - 'a') + 10
                                                      : 16;
        if (digit >= radix) return false;
        value = value * radix + digit;
    }
    ++text;
    return true;
}

/// The kernel writes a newline in a path as \012, and nothing else so.
void unescape(char* path) {
    char* to = path;
    for (const char* from = path; *from != '\0';) {
        if (std::strncmp(from, "\\012", 4) == 0) {
            *to++ = '\n';
            from += 4;
        } else {
            *to++ = *from++;
        }
    }
    *to = '\0';
}

bool parse(char* text, Mapping& mapping) {
    const char* at = text;
    std::uint64_t start, end, major, minor;
    if (!number(at, 16, '-', start) || !number(at, 16, ' ', end) || std::strlen(at) < 5) return false;
    mapping.start = static_cast<std::uintptr_t>(start);
    mapping.end = static_cast<std::uintptr_t>(end);
    mapping.readable = at[0] == 'r';
    mapping.writable = at[1] == 'w';
    mapping.executable = at[2] == 'x';
    mapping.is_private = at[3] == 'p';
    at += 5;
    if (!number(at, 16, ' ', mapping.offset) || !number(at, 16, ':', major) || !number(at, 16, ' ', minor)) return false;
    mapping.device = major << 32 | minor;
    mapping.inode = 0;
    for (; *at >= '0' && *at <= '9'; ++at) mapping.inode = mapping.inode * 10 + static_cast<std::uint64_t>(*at - '0');
    while (*at == ' ') ++at;
    unescape(text + (at - text));
    mapping.path = at;
    return true;
}

int open_file(const char* path) {
    for (;;) {
        // A name that is a pipe by now must not make us wait for its writer.
        const int descriptor = ::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (descriptor >= 0 || errno != EINTR) return descriptor;
    }
}

bool copy(const char* text, char* to, std::size_t room) {
    const std::size_t length = std::strlen(text);
    if (length >= room) return false;
    std::memcpy(to, text, length + 1);
    return true;
}

}  // namespace

bool Mappings::open() {
    const KeepErrno keep;
    close();
    begin_ = end_ = 0;
    header_ = 0;
    ended_ = false;
    // thread-self, because the directory of a process whose main thread ended shows nothing.
    descriptor_ = open_file("/proc/thread-self/maps");
    return descriptor_ >= 0;
}

void Mappings::close() {
    const KeepErrno keep;
    if (descriptor_ >= 0) ::close(descriptor_);
    descriptor_ = -1;
}

bool Mappings::fill() {
    const KeepErrno keep;
    while (!ended_ && descriptor_ >= 0) {
        const ssize_t got = ::read(descriptor_, buffer_ + end_, sizeof buffer_ - 1 - end_);
        if (got < 0 && errno == EINTR) continue;
        if (got > 0) {
            end_ += static_cast<std::size_t>(got);
            return true;
        }
        ended_ = true;
    }
    return false;
}

char* Mappings::line(bool& cut) {
    cut = false;
    for (;;) {
        char* const first = buffer_ + begin_;
        if (char* const newline = static_cast<char*>(std::memchr(first, '\n', end_ - begin_)); newline != nullptr) {
            *newline = '\0';
            begin_ = static_cast<std::size_t>(newline + 1 - buffer_);
            return first;
        }
        if (begin_ != 0) {
            std::memmove(buffer_, first, end_ - begin_);
            end_ -= begin_;
            begin_ = 0;
        }
        if (end_ == sizeof buffer_ - 1) {
            // Longer than any path the system can open: what is lost is the end of it.
            cut = true;
            end_ -= 512;
        }
        if (fill()) continue;
        if (end_ == 0) return nullptr;
        buffer_[end_] = '\0';
        end_ = 0;
        return buffer_;
    }
}

bool Mappings::next(Mapping& mapping) {
    bool cut;
    while (char* const text = line(cut)) {
        if (!parse(text, mapping)) continue;
        mapping.path_cut = cut;
        if (mapping.path[0] != '\0' && mapping.offset == 0) {
            header_ = mapping.start;
            device_ = mapping.device;
            inode_ = mapping.inode;
        }
        const bool same = mapping.path[0] != '\0' && header_ != 0 && mapping.device == device_ && mapping.inode == inode_;
        mapping.header = same ? header_ : 0;
        return true;
    }
    return false;
}

bool for_each(bool (*visit)(void*, const Mapping&), void* context) {
    const NoCancellation guard;
    Mappings mappings;
    if (!mappings.open()) return false;
    for (Mapping mapping; mappings.next(mapping) && visit(context, mapping);) continue;
    return true;
}

bool load_base(const Mapping& mapping, std::uintptr_t& base) {
    const elf::Placed placed{mapping.start, mapping.offset, mapping.executable};
    // In memory it is certainly the file that was mapped; but the first page need not be.
    if (mapping.header != 0 && elf::load_base({-1, mapping.header}, placed, base)) return true;
    if (mapping.path[0] != '/' || mapping.path_cut) return false;
    const KeepErrno keep;
    const int descriptor = open_file(mapping.path);
    if (descriptor < 0) return false;
    const bool found = elf::load_base({descriptor, 0}, placed, base);
    ::close(descriptor);
    return found;
}

bool file_path(const Mapping& mapping, char* path, std::size_t room) {
    const KeepErrno keep;
    if (mapping.path[0] != '/' || mapping.path_cut) return false;
    const std::size_t length = std::strlen(mapping.path), mark = sizeof deleted_mark - 1;
    // A file may really be called so.
    if (length < mark || std::strcmp(mapping.path + length - mark, deleted_mark) != 0 || ::access(mapping.path, R_OK) == 0)
        return copy(mapping.path, path, room);
    // Under the name may lie another file by now: it would give wrong answers. The program itself stays within reach.
    char program[1024];
    const ssize_t got = ::readlink("/proc/self/exe", program, sizeof program);
    if (got < 0 || static_cast<std::size_t>(got) != length || std::memcmp(program, mapping.path, length) != 0) return false;
    char digits[24];
    char* first = digits + sizeof digits;
    *--first = '\0';
    for (long id = os::process_id(); id != 0; id /= 10) *--first = static_cast<char>('0' + id % 10);
    const std::size_t size = std::strlen(first);
    if (room < 11 + size + 1) return false;
    // The parts follow each other; the last brings the end.
    std::memcpy(path, "/proc/", 6);      // NOLINT(bugprone-not-null-terminated-result)
    std::memcpy(path + 6, first, size);  // NOLINT(bugprone-not-null-terminated-result)
    std::memcpy(path + 6 + size, "/exe", 5);
    return true;
}

bool find(std::uintptr_t pc, Module& module) {
    const NoCancellation guard;
    Mappings mappings;
    if (!mappings.open()) return false;
    for (Mapping mapping; mappings.next(mapping);) {
        if (pc < mapping.start || pc >= mapping.end) continue;
        module.start = mapping.start;
        module.end = mapping.end;
        if (mapping.path[0] == '\0' || !load_base(mapping, module.base)) return false;
        const std::size_t length = std::strlen(mapping.path), cut = length < sizeof module.path ? length : sizeof module.path - 1;
        std::memcpy(module.path, mapping.path, cut);
        module.path[cut] = '\0';
        return true;
    }
    return false;
}

}  // namespace mpmm::modules
