// SPDX-License-Identifier: Apache-2.0
#include "verify/trace.hpp"

#include "platform/lock.hpp"
#include "verify/error.hpp"
#include "verify/memory.hpp"
#include "verify/options.hpp"
#include "verify/threads.hpp"

namespace mpmm::trace {
namespace {

/// Relaxed throughout: a report may read what another thread is about to write, and has the one or the other of each.
struct Entry {
    Atomic<std::uint64_t> sequence;
    Atomic<const void*> block, old;
    Atomic<std::size_t> size;
    Atomic<Operation> operation;
    Atomic<std::uint16_t> thread;
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
    length = options::bytes(options::trace_ops);
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
    Entry& entry = entries[next.fetch_add(1, relaxed) % length];
    entry.sequence.store(sequence, relaxed);
    entry.block.store(block, relaxed);
    entry.old.store(old, relaxed);
    entry.size.store(size, relaxed);
    entry.operation.store(operation, relaxed);
    entry.thread.store(verify_threads::number(), relaxed);
}

void write(report::Writer& out) {
    const Entry* const entries = ring.load(acquire);
    if (entries == nullptr) return;
    const std::uint64_t end = next.load(relaxed), begin = end > length ? end - length : 0;
    out.text("Last ").decimal(end - begin).text(" operations, oldest first (number, thread, operation):\n");
    for (std::uint64_t i = begin; i < end; ++i) {
        const Entry& entry = entries[i % length];
        const void* const block = entry.block.load(relaxed);
        const std::size_t size = entry.size.load(relaxed);
        out.text("  ").decimal(entry.sequence.load(relaxed)).text(" T").decimal(entry.thread.load(relaxed));
        switch (entry.operation.load(relaxed)) {
            case Operation::allocate: out.text(" allocate ").decimal(size).text(" = ").address(block); break;
            case Operation::free: out.text(" free ").address(block); break;
            case Operation::realloc:
                out.text(" realloc ").address(entry.old.load(relaxed)).text(" ").decimal(size).text(" = ").address(block);
                break;
        }
        out.text("\n");
    }
}

}  // namespace mpmm::trace
