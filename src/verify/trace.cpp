// SPDX-License-Identifier: Apache-2.0
#include "verify/trace.hpp"

#include "platform/lock.hpp"
#include "verify/error.hpp"
#include "verify/memory.hpp"
#include "verify/options.hpp"
#include "verify/threads.hpp"

namespace mpmm::trace {
namespace {

struct Entry {
    std::uint64_t sequence;
    const void* block;
    const void* old;
    std::size_t size;
    Operation operation;
    std::uint16_t thread;
};

constinit Mutex set_up_lock;
constinit Atomic<Entry*> ring{nullptr};
constinit Atomic<std::uint64_t> next{0};
constinit std::size_t length = 0;

Entry* get_ring() {
    Entry* entries = ring.load(acquire);
    if (entries != nullptr) return entries;
    const Guard guard(set_up_lock);
    if ((entries = ring.load(relaxed)) != nullptr) return entries;
    length = options::get(options::trace_ops);
    entries = static_cast<Entry*>(record_memory(length * sizeof(Entry), alignof(Entry)));
    // release: who sees the ring sees its length.
    ring.store(entries, release);
    return entries;
}

}  // namespace

bool on() { return options::get(options::trace_ops) != 0; }

void add(Operation operation, std::uint64_t sequence, const void* block, std::size_t size, const void* old) {
    Entry* const entries = get_ring();
    if (entries == nullptr) return;
    entries[next.fetch_add(1, relaxed) % length] = {sequence, block, old, size, operation, verify_threads::number()};
}

void write(report::Writer& out) {
    const Entry* const entries = ring.load(acquire);
    if (entries == nullptr) return;
    const std::uint64_t end = next.load(relaxed), begin = end > length ? end - length : 0;
    out.text("Last ").decimal(end - begin).text(" operations, oldest first (number, thread, operation):\n");
    for (std::uint64_t i = begin; i < end; ++i) {
        const Entry& entry = entries[i % length];
        out.text("  ").decimal(entry.sequence).text(" T").decimal(entry.thread);
        switch (entry.operation) {
            case Operation::allocate: out.text(" allocate ").decimal(entry.size).text(" = ").address(entry.block); break;
            case Operation::free: out.text(" free ").address(entry.block); break;
            case Operation::realloc:
                out.text(" realloc ").address(entry.old).text(" ").decimal(entry.size).text(" = ").address(entry.block);
                break;
        }
        out.text("\n");
    }
}

}  // namespace mpmm::trace
