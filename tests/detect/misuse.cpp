// SPDX-License-Identifier: Apache-2.0
// The errors themselves. Each announces the address it is about, then commits itself.
#include "detect/blocks.hpp"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#ifdef MPMM_DETECT_API
#include "mpmm/mpmm.h"
#endif

using namespace mpmm::detect;

namespace {

alignas(64) char global[256];

/// Whatever stands there, something else does afterwards.
void flip(volatile char* byte) {
    announce_address(const_cast<char*>(byte));
    *byte = static_cast<char>(~*byte);
}

void read(const volatile char* byte) {
    announce_address(const_cast<const char*>(byte));
    const char value = *byte;
    __asm__ volatile("" : : "r"(value));
}

void plain_free(Making making, void* address, std::size_t size) {
    announce_address(address);
    release(making, hide(address), size);
}

void plain_realloc(const Case& test, void* address) {
    announce_address(address);
#ifdef MPMM_DETECT_API
    hide(::mpmm_realloc(hide(address), test.size, test.size * 2));
#else
    hide(std::realloc(hide(address), test.size * 2));
#endif
}

void sized(const Case& test, char* block) {
    announce_address(block);
    const std::size_t wrong = wrong_size(test);
#ifdef MPMM_DETECT_API
    if (test.making == Making::mpmm_malloc_batch) {
        void* const blocks[] = {block};
        ::mpmm_free_batch(wrong, 1, blocks);
    } else {
        ::mpmm_free(block, wrong);
    }
#else
    switch (test.making) {
        case Making::operator_new_array: ::operator delete[](block, wrong); break;
        case Making::operator_new_aligned_64: ::operator delete(block, wrong, std::align_val_t{64}); break;
        case Making::operator_new_array_aligned: ::operator delete[](block, wrong, std::align_val_t{64}); break;
        default: ::operator delete(block, wrong);
    }
#endif
}

void c23_sized(const Case& test, char* block) {
    announce_address(block);
    if (test.error == Error::free_sized_larger)
        reinterpret_cast<void (*)(void*, std::size_t)>(exported("free_sized"))(block, wrong_size(test));
    else reinterpret_cast<void (*)(void*, std::size_t, std::size_t)>(exported("free_aligned_sized"))(block, 64, wrong_size(test));
}

void mismatched(const Case& test, char* block) {
    announce_address(block);
    switch (test.error) {
        case Error::wrong_free: std::free(block); break;
        case Error::wrong_realloc: hide(std::realloc(block, test.size * 2)); break;
        case Error::wrong_delete: ::operator delete(block); break;
        case Error::wrong_delete_array: ::operator delete[](block); break;
        default: ::operator delete(block, std::align_val_t{64});
    }
}

/// A string that fits but for its end.
void copy_string(const Case& test, char* block) {
    announce_address(block + test.size);
    // As long as the block: the terminating zero lies behind.
    static char text[(8 << 20) + 1];
    std::memset(text, 'x', test.size);
    text[test.size] = 0;
    std::strcpy(block, hide(text));
}

/// The program's own address range ends here, so that nobody can own it.
constexpr std::uintptr_t wild = sizeof(void*) == 8 ? static_cast<std::uintptr_t>(0x7ffffffff010) : 0xfffff010,
                         not_canonical = static_cast<std::uintptr_t>(0x4141414141414140);

}  // namespace

extern "C" [[gnu::noinline]] void misuse_the_block(const Case& test, char* block) {
    const std::size_t size = test.size;
    char local[256];
    switch (test.error) {
        case Error::double_free: plain_free(test.making, block, size); break;
        case Error::realloc_of_freed: plain_realloc(test, block); break;
        case Error::free_interior: plain_free(test.making, block + 16, size); break;
        case Error::free_misaligned: plain_free(test.making, block + 1, size); break;
        case Error::free_offset: plain_free(test.making, block + size / 2, size); break;
        case Error::free_last_byte: plain_free(test.making, block + size - 1, size); break;
        case Error::free_before: plain_free(test.making, block - 16, size); break;
        case Error::realloc_interior: plain_realloc(test, block + 16); break;
        case Error::free_stack: plain_free(test.making, hide(local), size); break;
        case Error::free_global: plain_free(test.making, hide(global), size); break;
        case Error::free_wild: plain_free(test.making, reinterpret_cast<void*>(wild), size); break;
        case Error::free_not_canonical: plain_free(test.making, reinterpret_cast<void*>(not_canonical), size); break;
        case Error::sized_larger:
        case Error::sized_smaller:
        case Error::sized_by_one: sized(test, block); break;
        case Error::free_sized_larger:
        case Error::free_aligned_sized_smaller: c23_sized(test, block); break;
        case Error::wrong_free:
        case Error::wrong_delete:
        case Error::wrong_delete_array:
        case Error::wrong_delete_aligned:
        case Error::wrong_realloc: mismatched(test, block); break;
        case Error::overflow_byte: flip(block + size); break;
        case Error::overflow_word:
            announce_address(block + size);
            std::memcpy(block + size, "overflow", 8);
            break;
        case Error::overflow_eighth: flip(block + size + 7); break;
        case Error::overflow_strcpy: copy_string(test, block); break;
        case Error::overflow_memset:
            announce_address(block + size);
            std::memset(block, 0x5a, size + 5);
            break;
        case Error::underflow_byte: flip(block - 1); break;
        case Error::underflow_eighth: flip(block - 8); break;
        case Error::stale_first: flip(block); break;
        case Error::stale_last: flip(block + size - 1); break;
        case Error::stale_middle:
        case Error::stale_after_realloc:
        case Error::guard_write_freed: flip(block + size / 2); break;
        case Error::guard_read_freed: read(block + size / 2); break;
        case Error::guard_overread: read(block + size); break;
        case Error::guard_overwrite: flip(block + size); break;
        // Before the first page of the block: behind it is the block's end, and before it may be unused bytes of its own page.
        case Error::guard_underread:
            read(hide(reinterpret_cast<void*>((reinterpret_cast<std::uintptr_t>(block) & ~std::uintptr_t{4095}) - 1)));
            break;
        default: give_up("not an error of one operation");
    }
    keep_frame();
}
