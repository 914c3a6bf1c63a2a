// SPDX-License-Identifier: Apache-2.0
// What compilers spell differently. The rest of the sources is standard C++20, and attributes that a compiler may ignore.
#pragma once

#if defined(_MSC_VER) && !defined(__clang__)
#define MPMM_MSVC 1
#endif

#ifdef MPMM_MSVC
#include <intrin.h>
#endif

// The standard's attribute is one that the Microsoft ABI ignores, whoever compiles.
#if defined(MPMM_MSVC) || defined(_MSC_VER)
#define MPMM_NO_UNIQUE_ADDRESS [[msvc::no_unique_address]]
#else
#define MPMM_NO_UNIQUE_ADDRESS [[no_unique_address]]
#endif

// Inlined, or the result would be another.
#ifdef MPMM_MSVC
#define MPMM_INLINED __forceinline
#else
#define MPMM_INLINED [[gnu::always_inline]] inline
#endif

// Have a function called when the library is loaded, before what the program initialises, and when the process ends, after it.
#ifdef MPMM_MSVC
#pragma warning(disable : 4073)
#pragma init_seg(lib)
#define MPMM_AT_START(function) \
    void function();            \
    const int at_start_##function = (function(), 0);
#define MPMM_AT_END(function)               \
    void function();                        \
    struct AtEnd_##function {               \
        ~AtEnd_##function() { function(); } \
    } const at_end_##function{};
#else
#define MPMM_AT_START(function) [[gnu::constructor(101)]] void function();
#define MPMM_AT_END(function) [[gnu::destructor(101)]] void function();
#endif

namespace mpmm {

MPMM_INLINED void prefetch(const void* address) {
#ifdef MPMM_MSVC
    _mm_prefetch(static_cast<const char*>(address), _MM_HINT_T0);
#else
    __builtin_prefetch(address);
#endif
}
MPMM_INLINED void prefetch_to_write(const void* address) {
#ifdef MPMM_MSVC
    _m_prefetchw(address);
#else
    __builtin_prefetch(address, 1);
#endif
}

/// Somewhere in the frame of the calling function.
MPMM_INLINED const void* frame_address() {
#ifdef MPMM_MSVC
    return _AddressOfReturnAddress();
#else
    return __builtin_frame_address(0);
#endif
}

}  // namespace mpmm
