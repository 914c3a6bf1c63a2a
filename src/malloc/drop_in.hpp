// SPDX-License-Identifier: Apache-2.0
// What the files of the drop-in library share.
#pragma once

#include "verify/alloc_record.hpp"

#include <cstddef>
#include <new>

#ifdef _WIN32
// A program's operator new is the one that is linked into it.
#define MPMM_EXPORT
#else
#define MPMM_EXPORT __attribute__((visibility("default")))
#endif

namespace mpmm::drop_in {

/// The program's new-handler, or nullptr; nullptr too when the process has no C++ runtime.
std::new_handler current_handler();
/// Ends the process with a message when it has no C++ runtime.
[[noreturn]] void throw_bad_alloc(std::size_t size);
/// [new.delete.single]: calls the handler until memory is there; throws std::bad_alloc when there is none left. `alignment` 0 is operator new's default.
[[gnu::cold]] [[gnu::noinline]] void* new_slow(Family family, std::size_t size, std::size_t alignment);
/// new_slow() with nullptr for whatever it throws.
[[gnu::cold]] [[gnu::noinline]] void* new_nothrow_slow(Family family, std::size_t size, std::size_t alignment) noexcept;

}  // namespace mpmm::drop_in
