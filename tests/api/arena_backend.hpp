// SPDX-License-Identifier: Apache-2.0
// A backend over the arena that does what the contract says, until a test makes it misbehave.
#pragma once

#include "api/child.hpp"

#include <atomic>
#include <cstring>
#include <mutex>

namespace mpmm::test {

struct ArenaBackend {
    std::mutex mutex;
    std::size_t next = 0;  ///< first byte of the arena never handed out
    std::size_t calls = 0, held = 0, purges = 0, resizes = 0;
    // Misbehaviour.
    std::size_t refuse_first = SIZE_MAX, refuse_count = 0;  ///< allocate() number refuse_first and the ones after it
    bool deallocate_refuses = false, purge_fails = false, resize_works = false;
    /// What allocate() returns instead of `memory`; may be null.
    void* (*twist)(ArenaBackend& self, void* memory, std::size_t size, std::size_t alignment) = nullptr;

    void* allocate(std::size_t size, std::size_t alignment) {
        const std::lock_guard guard(mutex);
        const std::size_t page = mpmm_backend_page_size(), call = calls++;
        CHILD_CHECK(size != 0 && size % page == 0);
        CHILD_CHECK(alignment >= page && (alignment & (alignment - 1)) == 0);
        if (call >= refuse_first && call - refuse_first < refuse_count) return nullptr;
        // The arena is aligned to 64 MiB; larger alignments are beyond it.
        const std::size_t start = (next + alignment - 1) / alignment * alignment;
        if (alignment > (std::size_t{64} << 20) || start > arena_size || size > arena_size - start) return nullptr;
        char* const memory = arena_memory() + start;
        if (twist != nullptr)
            if (void* const twisted = twist(*this, memory, size, alignment); twisted != memory) {
                if (twisted != nullptr) held += size;
                return twisted;
            }
        next = start + size;
        held += size;
        // Old bytes, as from a backend without MPMM_BACKEND_ZEROED; a big range is dirty at its start only.
        std::memset(memory, 0xdb, size < (1u << 20) ? size : 1u << 20);
        return memory;
    }
    int deallocate(void* address, std::size_t size) {
        const std::lock_guard guard(mutex);
        if (deallocate_refuses) return -1;
        // What was twisted may come back as it was given.
        CHILD_CHECK(twist != nullptr || (in_arena(address) && reinterpret_cast<std::uintptr_t>(address) % mpmm_backend_page_size() == 0));
        CHILD_CHECK(size % mpmm_backend_page_size() == 0 && size <= held);
        held -= size;
        return 0;
    }
    int purge(void* address, std::size_t size) {
        const std::lock_guard guard(mutex);
        ++purges;
        if (purge_fails) return -1;
        CHILD_CHECK(in_arena(address) && size % mpmm_backend_page_size() == 0);
        // Without MPMM_BACKEND_PURGE_ZEROES the content may be anything.
        std::memset(address, 0xdc, size < 4096 ? size : 4096);
        return 0;
    }
    int resize(char* address, std::size_t old_size, std::size_t new_size) {
        const std::lock_guard guard(mutex);
        ++resizes;
        // Only the last range can grow.
        if (!resize_works || address + old_size != arena_memory() + next) return -1;
        next = next - old_size + new_size;
        held = held - old_size + new_size;
        return 0;
    }

    mpmm_backend callbacks() {
        mpmm_backend result{};
        result.struct_size = sizeof result;
        result.context = this;
        result.allocate = [](void* self, std::size_t size, std::size_t alignment) {
            return static_cast<ArenaBackend*>(self)->allocate(size, alignment);
        };
        result.deallocate = [](void* self, void* address, std::size_t size) {
            return static_cast<ArenaBackend*>(self)->deallocate(address, size);
        };
        result.purge = [](void* self, void* address, std::size_t size) { return static_cast<ArenaBackend*>(self)->purge(address, size); };
        result.resize = [](void* self, void* address, std::size_t old_size, std::size_t new_size) {
            return static_cast<ArenaBackend*>(self)->resize(static_cast<char*>(address), old_size, new_size);
        };
        return result;
    }
    void start() {
        const mpmm_backend backend = callbacks();
        start(backend);
    }
    static void start(const mpmm_backend& backend) {
        const mpmm_options options{sizeof(mpmm_options), &backend, nullptr};
        CHILD_CHECK(mpmm_init(&options) == 0);
    }
};

/// Blocks with a byte pattern, checked when they are freed. Memory for its own list is static: the backend is what is under test.
class Blocks {
  public:
    static constexpr std::size_t most = 20000;

    /// False when there was no memory; then errno must say so.
    bool add(std::size_t size, std::size_t alignment = 1) {
        errno = 0;
        void* const block = alignment == 1 ? mpmm_malloc(size) : mpmm_aligned_alloc(alignment, size);
        if (block == nullptr) {
            CHILD_CHECK(errno == ENOMEM);
            return false;
        }
        CHILD_CHECK(in_arena(block) && in_arena(static_cast<char*>(block) + size - 1));
        CHILD_CHECK(reinterpret_cast<std::uintptr_t>(block) % alignment == 0);
        CHILD_CHECK(count_ < most);
        entries_[count_] = {static_cast<unsigned char*>(block), size};
        for_some_bytes(entries_[count_], [this](unsigned char& byte) { byte = static_cast<unsigned char>(count_ % 251); });
        ++count_;
        return true;
    }
    void free_all() {
        for (std::size_t i = 0; i < count_; ++i) {
            for_some_bytes(entries_[i], [i](unsigned char byte) { CHILD_CHECK(byte == i % 251); });
            mpmm_free(entries_[i].block, entries_[i].size);
        }
        count_ = 0;
    }
    std::size_t count() const { return count_; }

  private:
    struct Entry {
        unsigned char* block;
        std::size_t size;
    };
    /// All bytes at both ends, and some between them.
    template <class Visit>
    static void for_some_bytes(const Entry& entry, Visit visit) {
        const std::size_t step = entry.size > 65536 ? 1021 : 1;
        for (std::size_t at = 0; at < entry.size; at += at < 128 || at + 128 > entry.size ? 1 : step) visit(entry.block[at]);
        if (entry.size != 0) visit(entry.block[entry.size - 1]);
    }
    static inline Entry entries_[most];
    std::size_t count_ = 0;
};

/// The end of every child: the heap is whole, nothing is lost, and it still works.
[[noreturn]] inline void finish_whole(Blocks& blocks) {
    blocks.free_all();
    mpmm_stats stats{};
    stats.struct_size = sizeof stats;
    CHILD_CHECK(mpmm_get_stats(&stats) == 0);
    CHILD_CHECK(stats.used_blocks == 0);
    CHILD_CHECK(stats.used_bytes == 0);
    CHILD_CHECK(mpmm_verify_heap() == 0);
    child_done();
}

}  // namespace mpmm::test
