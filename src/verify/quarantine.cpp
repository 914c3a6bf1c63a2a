// SPDX-License-Identifier: Apache-2.0
#include "verify/quarantine.hpp"

#include "platform/lock.hpp"
#include "platform/thread_pointer.hpp"
#include "verify/memory.hpp"

#include <cstring>

namespace mpmm::quarantine {
namespace {

constexpr std::size_t most_per_thread = 256 * 1024;

constinit Mutex list_lock;
constinit Batch* first = nullptr;
constinit Batch* last = nullptr;
constinit Batch* spare = nullptr;
constinit Atomic<std::size_t> waiting{0};  // bytes in the list; written under the lock

using Local = ThreadPointer<Batch>;

Batch* new_batch() {
    Batch* batch = nullptr;
    {
        const Guard guard(list_lock);
        if ((batch = spare) != nullptr) spare = batch->next;
    }
    if (batch == nullptr) batch = static_cast<Batch*>(record_memory(sizeof(Batch), alignof(Batch)));
    if (batch != nullptr) {
        batch->next = nullptr;
        batch->count = 0;
        batch->bytes = sizeof(Batch);
    }
    return batch;
}

}  // namespace

bool add(const Place& block, std::size_t bytes, std::size_t limit) {
    Batch* batch = Local::value;
    if (batch == nullptr) {
        if ((batch = new_batch()) == nullptr) return false;
        Local::value = batch;
    }
    batch->blocks[batch->count++] = block;
    batch->bytes += bytes;
    const std::size_t share = limit / 16 < most_per_thread ? limit / 16 : most_per_thread;
    if (batch->count == Batch::capacity || batch->bytes > share) publish();
    return true;
}

void publish() {
    Batch* const batch = Local::value;
    if (batch == nullptr) return;
    Local::value = nullptr;
    const Guard guard(list_lock);
    if (last != nullptr && last->count + batch->count <= Batch::capacity) {
        // Threads that free little do not leave a batch each.
        std::memcpy(last->blocks + last->count, batch->blocks, batch->count * sizeof(Place));
        last->count += batch->count;
        last->bytes += batch->bytes - sizeof(Batch);
        waiting.fetch_add(batch->bytes - sizeof(Batch), relaxed);
        batch->next = spare;
        spare = batch;
        return;
    }
    (last != nullptr ? last->next : first) = batch;
    last = batch;
    waiting.fetch_add(batch->bytes, relaxed);
}

Batch* overdue(std::size_t limit) {
    // A look without the lock first: mostly there is nothing to do, and the next free looks again.
    if (waiting.load(relaxed) <= limit && limit != 0) return nullptr;
    const Guard guard(list_lock);
    if (first == nullptr || (waiting.load(relaxed) <= limit && limit != 0)) return nullptr;
    Batch* const batch = first;
    first = batch->next;
    if (first == nullptr) last = nullptr;
    waiting.fetch_sub(batch->bytes, relaxed);
    return batch;
}

void recycle(Batch* batch) {
    const Guard guard(list_lock);
    batch->next = spare;
    spare = batch;
}

void lock() { list_lock.lock(); }
void unlock() { list_lock.unlock(); }
void reset_after_fork() { list_lock.reset_after_fork(); }

}  // namespace mpmm::quarantine
