// SPDX-License-Identifier: Apache-2.0
// The operating system as a backend. An aligned mapping is first asked for right below the last one, where the kernel would put the next
// one anyway: then it is aligned by itself, and neighbouring chunks share one kernel mapping. Only when that fails is a longer mapping
// made and both ends returned at once, so nothing stays mapped twice.
#include "backend/backend.hpp"
#include "platform/os.hpp"
#include "verify/options.hpp"

namespace mpmm {
namespace {

/// Relaxed: a place to ask for, which the kernel need not grant.
constinit Atomic<std::uintptr_t> next_hint{0};

/// Maps size + alignment - page and returns what sticks out on both sides.
void* map_and_trim(std::size_t size, std::size_t alignment) {
    const std::size_t page = os::page_size();
    if (size + alignment < size) return nullptr;
    const std::size_t total = size + alignment - page;
    void* const memory = os::map(total, nullptr);
    if (memory == nullptr) return nullptr;
    const auto start = reinterpret_cast<std::uintptr_t>(memory);
    const std::uintptr_t aligned = align_up(start, alignment);
    if (aligned != start) os::unmap(memory, aligned - start);
    if (const std::uintptr_t end = start + total; end != aligned + size)
        os::unmap(reinterpret_cast<void*>(aligned + size), end - aligned - size);
    return reinterpret_cast<void*>(aligned);
}

}  // namespace

void* system_allocate(void*, std::size_t size, std::size_t alignment) {
    if (alignment <= os::page_size()) return os::map(size, nullptr);
    const std::uintptr_t hint = next_hint.load(relaxed);
    void* memory = nullptr;
    if (hint > size) {
        memory = os::map(size, reinterpret_cast<void*>(align_down(hint - size, alignment)));
        if (memory == nullptr) return nullptr;
        if (!is_aligned(reinterpret_cast<std::uintptr_t>(memory), alignment)) {
            os::unmap(memory, size);
            memory = nullptr;
        }
    }
    if (memory == nullptr) memory = map_and_trim(size, alignment);
    if (memory == nullptr) return nullptr;
    next_hint.store(reinterpret_cast<std::uintptr_t>(memory), relaxed);
    if (options::get(options::thp) != 0) os::use_huge_pages(memory, size);
    return memory;
}

}  // namespace mpmm
