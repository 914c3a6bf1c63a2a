// SPDX-License-Identifier: Apache-2.0
// The system copies, also within the process. Which pages were never touched it does not tell.
#include "platform/reader.hpp"

#include "platform/os_windows.hpp"

#include <algorithm>

namespace mpmm {

Reader::Reader() : buffer_(copy_size_), page_(os::page_size()), page_map_(-1) {}
Reader::~Reader() = default;

std::size_t Reader::copy(void* to, std::uintptr_t from, std::size_t size) {
    // Debuggers may read pages without access, and this is their function: Wine lets them.
    if (!os::is_readable(reinterpret_cast<const void*>(from), size)) return 0;
    SIZE_T copied = 0;
    const DWORD error = ::GetLastError();
    const bool good = ::ReadProcessMemory(::GetCurrentProcess(), reinterpret_cast<const void*>(from), to, size, &copied) != 0;
    ::SetLastError(error);
    return good ? copied : 0;
}

void Reader::read(std::uintptr_t begin, std::uintptr_t end, Visit visit, void* context) {
    auto* const buffer = buffer_.as<std::uintptr_t>();
    while (begin < end) {
        const std::uintptr_t next_page = (begin | (page_ - 1)) + 1;
        std::size_t copied = copy(buffer, begin, std::min(end - begin, copy_size_));
        // All or nothing: some of these pages may be good.
        if (copied == 0) copied = copy(buffer, begin, std::min(end, next_page) - begin);
        if (copied != 0) visit(context, buffer, buffer + copied / sizeof(std::uintptr_t));
        begin = copied != 0 ? begin + copied : next_page;
    }
}

void Reader::words(std::uintptr_t begin, std::uintptr_t end, Absent, Visit visit, void* context) {
    constexpr std::uintptr_t mask = sizeof(std::uintptr_t) - 1;
    read((begin + mask) & ~mask, end & ~mask, visit, context);
}

}  // namespace mpmm
