// SPDX-License-Identifier: Apache-2.0
// The mappings as VirtualQuery tells them: runs of pages of one kind. A module is a reservation of its own; its device and inode are 0 and the
// address it is loaded at. Its path is the system's name of the file, for which the loader need not be asked.
#include "platform/modules.hpp"

#include "platform/os_windows.hpp"

#include <cstring>

namespace mpmm::modules {
namespace {

/// The path of the file that is mapped at `address`, as the system writes it; allocates nothing.
std::size_t file_name(const void* address, char* path, std::size_t room) {
    constexpr int section_name = 2;
    constexpr std::size_t longest = 1024;
    struct {
        USHORT bytes, room;
        const wchar_t* text;
        wchar_t storage[longest];
    } answer;
    const auto query = os::windows::functions.query_memory.load(relaxed);
    if (query == nullptr || query(::GetCurrentProcess(), address, section_name, &answer, sizeof answer, nullptr) < 0) return 0;
    const int length = ::WideCharToMultiByte(CP_UTF8, 0, answer.text, answer.bytes / 2, path, static_cast<int>(room), nullptr, nullptr);
    return static_cast<std::size_t>(length);
}

}  // namespace

bool Mappings::open() { return open_at(0); }

bool Mappings::next(Mapping& mapping) {
    MEMORY_BASIC_INFORMATION info;
    for (;; header_ = mapping.end) {
        if (ended_ || ::VirtualQuery(reinterpret_cast<void*>(header_), &info, sizeof info) == 0) break;
        const auto start = reinterpret_cast<std::uintptr_t>(info.BaseAddress);
        mapping.start = start;
        mapping.end = start + info.RegionSize;
        if (mapping.end <= header_) break;
        if (info.State == MEM_COMMIT) {
            constexpr DWORD writable = PAGE_READWRITE | PAGE_WRITECOPY | PAGE_EXECUTE_READWRITE | PAGE_EXECUTE_WRITECOPY;
            constexpr DWORD executable = PAGE_EXECUTE | PAGE_EXECUTE_READ | PAGE_EXECUTE_READWRITE | PAGE_EXECUTE_WRITECOPY;
            const bool image = info.Type == MEM_IMAGE;
            mapping.readable = (info.Protect & (PAGE_NOACCESS | PAGE_GUARD | PAGE_EXECUTE)) == 0;
            mapping.writable = mapping.readable && (info.Protect & writable) != 0;
            mapping.executable = (info.Protect & executable) != 0;
            mapping.is_private = info.Type != MEM_MAPPED;
            mapping.header = image ? reinterpret_cast<std::uintptr_t>(info.AllocationBase) : 0;
            mapping.offset = image ? start - mapping.header : 0;
            mapping.device = 0;
            mapping.inode = mapping.header;
            mapping.path = "";
            mapping.path_cut = false;
            // The parts of a module follow each other.
            if (image && inode_ != mapping.inode) {
                const std::size_t length = file_name(info.AllocationBase, buffer_, sizeof buffer_ - 1);
                buffer_[length] = 0;
                inode_ = mapping.inode;
            }
            if (image) mapping.path = buffer_;
            header_ = mapping.end;
            return true;
        }
    }
    ended_ = true;
    return false;
}

void Mappings::close() {}

bool find(std::uintptr_t pc, Module& module) {
    Mappings mappings;
    if (!mappings.open_at(pc)) return false;
    Mapping mapping;
    if (!mappings.next(mapping) || pc < mapping.start || pc >= mapping.end || mapping.header == 0) return false;
    module.base = mapping.header;
    module.start = mapping.start;
    module.end = mapping.end;
    const std::size_t length = std::strlen(mapping.path) < sizeof module.path ? std::strlen(mapping.path) : sizeof module.path - 1;
    std::memcpy(module.path, mapping.path, length);
    module.path[length] = 0;
    return true;
}

}  // namespace mpmm::modules
