// SPDX-License-Identifier: Apache-2.0
// What the allocator needs from the operating system. Nothing here allocates from the heap; every function may be called from any
// thread, and keeps errno unless it says otherwise.
#pragma once

#include "platform/atomics.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace mpmm::os {

/// The system's page size in bytes.
std::size_t page_size();
/// What a heap of geometry G maps, purges and protects in multiples of: its own page, or the system's where that is larger. The kernel refuses
/// addresses that are not whole pages of its own, and rounds lengths up: it would take what lies behind.
template <class G>
std::size_t whole_page() {
    return std::max(G::page, page_size());
}

/// Fresh zeroed private memory of `size` bytes (whole pages); `hint` is where it is wanted, or null. nullptr when refused.
void* map(std::size_t size, void* hint);
/// Returns address space. False when the system refused (it may: a split can exceed the limit of mappings).
bool unmap(void* address, std::size_t size);
/// Returns the physical pages and keeps the addresses; they read as zero afterwards. False when refused.
bool purge(void* address, std::size_t size);
/// Grows or shrinks a mapping in place.
bool resize(void* address, std::size_t old_size, std::size_t new_size);
/// Whether move() can do anything here.
#ifdef _WIN32
inline constexpr bool can_move = false;
#else
inline constexpr bool can_move = true;
#endif
/// Moves the pages of [from, from + old_size) onto the mapping [to, to + new_size), which they replace; `from` is unmapped.
bool move(void* from, std::size_t old_size, void* to, std::size_t new_size);

/// Fresh zeroed memory whose pages are only backed when touched, or addresses without access when not `accessible`. nullptr when refused.
void* reserve(std::size_t size, bool accessible);
/// How many bytes of addresses, or of data, the process may have; SIZE_MAX when that is not limited.
std::size_t address_limit();
/// Makes whole pages readable and writable, or inaccessible. False when refused (a split can exceed the limit of mappings).
bool protect(void* address, std::size_t size, bool accessible);
/// Asks for huge pages behind these addresses, where the system has them.
void use_huge_pages(void* address, std::size_t size);
/// Whether these pages go into a core file.
void dump(void* address, std::size_t size, bool wanted);
/// How many mappings a process may have; a cautious guess where the system does not tell.
std::size_t max_mappings();

/// Milliseconds of a monotonic clock, cheap and coarse.
std::uint64_t now_ms();

/// Sleeps for about a millisecond.
void nap();
/// Whether all of [address, address + size) can be read: a pointer that may be wrong can be looked at without a crash.
bool is_readable(const void* address, std::size_t size);

/// Sleeps while *word == expected; may return early.
void wait(Atomic<std::uint32_t>& word, std::uint32_t expected);
/// Wakes one sleeper.
void wake_one(Atomic<std::uint32_t>& word);

/// Writes all bytes to a file descriptor, as far as it takes them.
void write(int descriptor, const char* text, std::size_t size);
/// The value of an environment variable or nullptr, without locale or libc state: safe before main.
const char* environment(const char* name);
/// False while the C library has not set the environment up, as in a program's .preinit_array; and when the program has none.
bool has_environment();
/// Whether the process runs with more rights than who started it: then the environment is not to be trusted.
bool is_privileged();
long process_id();
/// The system's number of the calling thread.
int thread_id();
/// Copies the name of a living thread of this process; an empty string when there is none.
void thread_name(int id, char* name, std::size_t size);
/// Opens a file for appending, made when it does not exist; -1 when that fails.
int open_log(const char* path);
/// A second descriptor of standard error that programs do not come across; -1 when there is none.
int spare_error_output();
bool is_open(int descriptor);
void close(int descriptor);
/// Writes what the C library still buffers, as exit() would do later.
void flush_output();
[[noreturn]] void exit_now(int status);
[[noreturn]] void abort();

}  // namespace mpmm::os
