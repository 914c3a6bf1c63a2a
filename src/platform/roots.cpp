// SPDX-License-Identifier: Apache-2.0
#include "platform/roots.hpp"

#include "platform/raw_syscall.hpp"
#include "platform/reader.hpp"
#include "platform/thread_stacks.hpp"

#ifdef MPMM_RAW_SYSCALL

#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace mpmm::roots {
namespace {

/// One line of /proc/PID/maps: "begin-end rwxp offset device inode   path".
struct Mapping {
    std::uintptr_t begin, end;
    bool readable, writable, shared, of_file;
    char path[16];  ///< its beginning

    bool begins(const char* text) const { return std::strncmp(path, text, std::strlen(text)) == 0; }
};

class Maps {
  public:
    // thread-self, because the directory of a process whose main thread ended shows nothing.
    Maps() : file_(static_cast<int>(raw_syscall(SYS_openat, AT_FDCWD, "/proc/thread-self/maps", O_RDONLY | O_CLOEXEC, 0))) {}
    ~Maps() {
        if (file_ >= 0) raw_syscall(SYS_close, file_);
    }
    Maps(const Maps&) = delete;
    Maps& operator=(const Maps&) = delete;

    bool next(Mapping& mapping) {
        if (file_ < 0) return false;
        std::memset(&mapping, 0, sizeof mapping);
        mapping.begin = number();
        mapping.end = number();
        if (mapping.end <= mapping.begin) return false;
        mapping.readable = get() == 'r';
        mapping.writable = get() == 'w';
        get();
        mapping.shared = get() != 'p';
        get();
        number();  // offset
        number();  // device
        number();
        mapping.of_file = number() != 0;
        std::size_t length = 0;
        for (char c = last_; c != '\n' && c != 0; c = get())
            if ((c != ' ' || length != 0) && length < sizeof mapping.path - 1) mapping.path[length++] = c;
        return true;
    }

  private:
    char get() {
        if (at_ == size_) {
            const long size = raw_syscall(SYS_read, file_, buffer_, sizeof buffer_);
            at_ = 0;
            size_ = size > 0 ? static_cast<std::size_t>(size) : 0;
            if (size_ == 0) return last_ = 0;
        }
        return last_ = buffer_[at_++];
    }
    /// A hexadecimal number and the character behind it. Of the decimal inode only whether it is zero counts.
    std::uintptr_t number() {
        std::uintptr_t value = 0;
        for (;;) {
            const char c = get();
            if (c >= '0' && c <= '9') value = value << 4 | static_cast<unsigned>(c - '0');
            else if (c >= 'a' && c <= 'f') value = value << 4 | static_cast<unsigned>(c - 'a' + 10);
            else return value;
        }
    }

    int file_;
    std::size_t at_ = 0, size_ = 0;
    char last_ = 0;
    char buffer_[4096];
};

bool may_hold_roots(const Mapping& mapping, bool knows_presence) {
    if (mapping.shared || !mapping.readable || mapping.begins("[v")) return false;
    if (mapping.begins("/dev/") && !mapping.begins("/dev/zero")) return false;
    // What can only be read may have been written before: the linker's tables, data a program protected. Where pages cannot be told from
    // the file's that would be all code.
    return mapping.writable || !mapping.of_file || knows_presence;
}

bool hidden_memory(std::uintptr_t address, std::uintptr_t& end) {
    for (const hidden::Range& range : hidden::ranges) {
        if (range.end <= address) continue;
        end = std::min(end, range.begin > address ? range.begin : range.end);
        if (range.begin <= address) return true;
    }
    return false;
}

/// Calls part(begin, end) for the program's parts of a mapping.
template <class Part>
void program_parts(const Mapping& mapping, Excluded excluded, void* context, const ThreadStacks* stacks, Part&& part) {
    for (std::uintptr_t at = mapping.begin, end; at < mapping.end; at = end) {
        end = mapping.end;
        const bool ours = hidden_memory(at, end) || (stacks != nullptr && stacks->dead(at, end)) || excluded(context, at, end);
        if (end <= at) end = mapping.end;
        if (!ours) part(at, end);
    }
}

}  // namespace

bool visit(const stop_world::World& world, Excluded excluded, Visit visit, void* context) {
    Reader reader;
    if (!reader.ready()) return false;
    for (std::size_t i = 0; i < world.count; ++i) {
        const stop_world::Thread& thread = world.threads[i];
        visit(context, thread.registers, thread.registers + thread.register_count);
    }
    ThreadStacks stacks(world, reader);
    Mapping mapping;
    {
        Maps maps;
        while (maps.next(mapping)) {
            if (!may_hold_roots(mapping, reader.knows_presence())) continue;
            if (mapping.begins("[stack]")) stacks.main_stack(mapping.begin, mapping.end);
            else if (mapping.writable && !mapping.of_file && !mapping.begins("[heap]"))
                program_parts(mapping, excluded, context, nullptr,
                              [&](std::uintptr_t begin, std::uintptr_t end) { stacks.look_for_ended(begin, end); });
        }
        stacks.finish();
    }
    Maps maps;
    std::size_t count = 0;
    // Visiting may map memory for its own use; it is hidden, and the kernel goes on behind the last line's end.
    while (maps.next(mapping)) {
        ++count;
        if (!may_hold_roots(mapping, reader.knows_presence())) continue;
        program_parts(mapping, excluded, context, &stacks, [&](std::uintptr_t begin, std::uintptr_t end) {
            reader.words(begin, end, Reader::Absent::is_zero_or_the_file, visit, context);
        });
    }
    return count != 0;
}

}  // namespace mpmm::roots

#else

namespace mpmm::roots {

bool visit(const stop_world::World&, Excluded, Visit, void*) { return false; }

}  // namespace mpmm::roots

#endif
