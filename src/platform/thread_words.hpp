// SPDX-License-Identifier: Apache-2.0
// Thread-local words for GCC on Windows, whose thread_local is a call that may allocate, with malloc: no ground for an allocator to stand on.
// These lie in the thread-local block that the system's loader makes for each thread of each module, zeroed, as those of other compilers do:
//
//   TEB ── 58h ──► blocks of this thread ── [_tls_index] ──► | … | never written | word | word | … |      section .tls of this module
//                                                                  ▲ 0             ▲ offset
//
// Types share the words: each takes one when it is first written, in whichever thread. Until then it reads the one that is never written.
#pragma once

#if defined(__MINGW32__) && !defined(__clang__)
#define MPMM_THREAD_WORDS 1

#include "platform/atomics.hpp"

#include <cstdint>
#include <type_traits>

extern "C" unsigned long _tls_index;
/// The template that every thread gets a copy of.
extern "C" std::uintptr_t mpmm_thread_words[];

namespace mpmm::thread_words {

/// The offset of a word of its own for `owner`, which is told it. Ends the process when there is none left: the program's types are known
/// when it is built, and so is their number.
std::uint32_t take(Atomic<std::uint32_t>& owner);

[[gnu::always_inline, gnu::const]] inline char* block() {
    char* at;
#if defined(__x86_64__)
    std::uintptr_t index;
    asm("movq %%gs:0x58, %0\n\t"
        "movl _tls_index(%%rip), %k1\n\t"
        "movq (%0,%1,8), %0\n\t"
        "leaq mpmm_thread_words@secrel32(%0), %0"
        : "=&r"(at), "=&r"(index));
#else
    std::uintptr_t index;
    asm("movl %%fs:0x2c, %0\n\t"
        "movl __tls_index, %1\n\t"
        "movl (%0,%1,4), %0\n\t"
        "leal _mpmm_thread_words@secrel32(%0), %0"
        : "=&r"(at), "=&r"(index));
#endif
    return at;
}

template <class T>
constexpr T nothing() {
    return T{};
}

/// In place of a thread_local variable of static storage: a pointer or a number, initial() in a new thread.
template <class T, T (*initial)() = nothing<T>>
class Word {
  public:
    constexpr Word() = default;
    Word(const Word&) = delete;

    [[gnu::always_inline]] operator T() const {
        // relaxed: who reads 0 meanwhile reads the word that is never written, which is what its own holds in this thread.
        return of_bits(*reinterpret_cast<std::uintptr_t*>(block() + offset_.load(relaxed)) ^ bits_of(initial()));
    }
    Word& operator=(T value) {
        std::uint32_t offset = offset_.load(relaxed);
        if (offset == 0) [[unlikely]]
            offset = take(offset_);
        *reinterpret_cast<std::uintptr_t*>(block() + offset) = bits_of(value) ^ bits_of(initial());
        return *this;
    }
    Word& operator++() { return *this = static_cast<T>(*this + 1); }
    Word& operator--() { return *this = static_cast<T>(*this - 1); }

  private:
    static std::uintptr_t bits_of(T value) {
        if constexpr (std::is_pointer_v<T>) return reinterpret_cast<std::uintptr_t>(value);
        else return static_cast<std::uintptr_t>(value);
    }
    static T of_bits(std::uintptr_t bits) {
        if constexpr (std::is_pointer_v<T>) return reinterpret_cast<T>(bits);
        else return static_cast<T>(bits);
    }

    Atomic<std::uint32_t> offset_{0};
};

}  // namespace mpmm::thread_words

#endif
