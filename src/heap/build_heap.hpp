// SPDX-License-Identifier: Apache-2.0
// The heap of the libraries.
#pragma once

#include "heap/heap.hpp"

namespace mpmm {

using BuildHeap = Heap<BuildConfig>;

/// Who uses the heap needs the fork handlers, and a static library gives a program only the objects that are referred to.
extern const char start_anchor;
[[gnu::used]] static const char* const needs_start = &start_anchor;

}  // namespace mpmm
