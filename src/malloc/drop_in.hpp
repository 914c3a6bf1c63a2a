// SPDX-License-Identifier: Apache-2.0
// What the files of the drop-in library share.
#pragma once

#include <cstddef>
#include <new>

#define MPMM_EXPORT __attribute__((visibility("default")))

namespace mpmm::drop_in {

/// The program's new-handler, or nullptr; nullptr too when the process has no C++ runtime.
std::new_handler current_handler();
/// Memory or nullptr; `alignment` 0 is operator new's default.
void* try_new(std::size_t size, std::size_t alignment);
/// [new.delete.single]: calls the handler until memory is there; throws std::bad_alloc when there is none left.
[[gnu::cold]] [[gnu::noinline]] void* new_slow(std::size_t size, std::size_t alignment);
/// new_slow() with nullptr for whatever it throws.
[[gnu::cold]] [[gnu::noinline]] void* new_nothrow_slow(std::size_t size, std::size_t alignment) noexcept;

}  // namespace mpmm::drop_in
