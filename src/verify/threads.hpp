// SPDX-License-Identifier: Apache-2.0
// Who did it: threads get numbers as they come, T0 first, and keep them for ever; reports give number and name. And what verify keeps for a
// thread while it lives: its part of the quarantine.
#pragma once

#include "platform/thread_pointer.hpp"

#include <cstddef>
#include <cstdint>

namespace mpmm::verify_threads {

/// One more than the calling thread's number; 0 while it has none.
struct Numbering;
using Number = ThreadNumber<Numbering>;

/// The calling thread's number, 0 for the first. From 65,535 on all have that one.
std::uint16_t number();
/// The calling thread ends: its name is kept.
void ends();
/// In fork's child: the calling thread keeps its number. Whether there were others, which are not here.
bool after_fork();
/// Copies the thread's name, read from the system while it lives.
void name(std::uint16_t number, char* text, std::size_t size);

}  // namespace mpmm::verify_threads
