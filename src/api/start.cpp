// SPDX-License-Identifier: Apache-2.0
// What the library does when it is loaded: register the fork handlers. Early, so that of all handlers ours runs last before the fork and
// first after it. The allocator itself needs no start: it works before this runs.
#include "heap/build_heap.hpp"

const char mpmm::start_anchor = 0;

namespace {

[[gnu::constructor(101)]] void register_fork_handlers() {
    using mpmm::BuildHeap;
    mpmm::thread::at_fork(&BuildHeap::before_fork, &BuildHeap::after_fork_parent, &BuildHeap::after_fork_child);
}

}  // namespace
