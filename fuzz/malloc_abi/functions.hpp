// SPDX-License-Identifier: Apache-2.0
// The drop-in library's functions, each with abi_ before its name: so the process keeps its own malloc, which is the sanitizer's. The library
// is the one that programs get, but for the names, which objcopy changes as renamed_symbols says.
#pragma once

#include <cstddef>
#include <cstdio>
#include <malloc.h>
#include <new>

extern "C" {
void* abi_malloc(std::size_t size);
void abi_free(void* block);
void* abi_calloc(std::size_t count, std::size_t size);
void* abi_realloc(void* block, std::size_t size);
void* abi_reallocarray(void* block, std::size_t count, std::size_t size);
void* abi_memalign(std::size_t alignment, std::size_t size);
void* abi_aligned_alloc(std::size_t alignment, std::size_t size);
int abi_posix_memalign(void** result, std::size_t alignment, std::size_t size);
void* abi_valloc(std::size_t size);
void* abi_pvalloc(std::size_t size);
std::size_t abi_malloc_usable_size(void* block);
void abi_cfree(void* block);
void abi_free_sized(void* block, std::size_t size);
void abi_free_aligned_sized(void* block, std::size_t alignment, std::size_t size);
int abi_malloc_trim(std::size_t keep);
struct mallinfo2 abi_mallinfo2();
int abi_mallopt(int parameter, int value);
int abi_malloc_info(int options, std::FILE* stream);
}

namespace mpmm::fuzz::abi {

using Align = std::align_val_t;
using NoThrow = const std::nothrow_t&;

void* new_single(std::size_t) __asm__("abi__Znwm");
void* new_array(std::size_t) __asm__("abi__Znam");
void* new_single(std::size_t, NoThrow) noexcept __asm__("abi__ZnwmRKSt9nothrow_t");
void* new_array(std::size_t, NoThrow) noexcept __asm__("abi__ZnamRKSt9nothrow_t");
void* new_single(std::size_t, Align) __asm__("abi__ZnwmSt11align_val_t");
void* new_array(std::size_t, Align) __asm__("abi__ZnamSt11align_val_t");
void* new_single(std::size_t, Align, NoThrow) noexcept __asm__("abi__ZnwmSt11align_val_tRKSt9nothrow_t");
void* new_array(std::size_t, Align, NoThrow) noexcept __asm__("abi__ZnamSt11align_val_tRKSt9nothrow_t");
void delete_single(void*) noexcept __asm__("abi__ZdlPv");
void delete_array(void*) noexcept __asm__("abi__ZdaPv");
void delete_single(void*, std::size_t) noexcept __asm__("abi__ZdlPvm");
void delete_array(void*, std::size_t) noexcept __asm__("abi__ZdaPvm");
void delete_single(void*, NoThrow) noexcept __asm__("abi__ZdlPvRKSt9nothrow_t");
void delete_array(void*, NoThrow) noexcept __asm__("abi__ZdaPvRKSt9nothrow_t");
void delete_single(void*, Align) noexcept __asm__("abi__ZdlPvSt11align_val_t");
void delete_array(void*, Align) noexcept __asm__("abi__ZdaPvSt11align_val_t");
void delete_single(void*, std::size_t, Align) noexcept __asm__("abi__ZdlPvmSt11align_val_t");
void delete_array(void*, std::size_t, Align) noexcept __asm__("abi__ZdaPvmSt11align_val_t");
void delete_single(void*, Align, NoThrow) noexcept __asm__("abi__ZdlPvSt11align_val_tRKSt9nothrow_t");
void delete_array(void*, Align, NoThrow) noexcept __asm__("abi__ZdaPvSt11align_val_tRKSt9nothrow_t");

}  // namespace mpmm::fuzz::abi
