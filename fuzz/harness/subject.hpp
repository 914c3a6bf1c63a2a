// SPDX-License-Identifier: Apache-2.0
// The allocator as the executor sees it: the functions of mpmm.h whose results the model judges. Tests of the harness derive faulty
// allocators from it, to see that each fault is found.
#pragma once

#include "mpmm/mpmm.h"

#include <cstddef>

namespace mpmm::fuzz {

class Subject {
  public:
    virtual ~Subject() = default;

    virtual void* malloc(std::size_t size) { return mpmm_malloc(size); }
    virtual void* zalloc(std::size_t size) { return mpmm_zalloc(size); }
    virtual void* aligned(std::size_t alignment, std::size_t size) { return mpmm_aligned_alloc(alignment, size); }
    virtual void* aligned_zeroed(std::size_t alignment, std::size_t size) { return mpmm_aligned_zalloc(alignment, size); }
    virtual void free(void* block, std::size_t size) { mpmm_free(block, size); }
    virtual void free_unsized(void* block) { mpmm_free_unsized(block); }
    virtual void tcache_free(void* block, std::size_t size) { mpmm_tcache_free(block, size); }
    virtual void lcache_free(void* block, std::size_t size) { mpmm_lcache_free(block, size); }
    virtual void* realloc(void* block, std::size_t old_size, std::size_t size) { return mpmm_realloc(block, old_size, size); }
    virtual int resize(void* block, std::size_t old_size, std::size_t size) { return mpmm_resize(block, old_size, size); }
    virtual std::size_t malloc_batch(std::size_t size, std::size_t count, void** blocks) { return mpmm_malloc_batch(size, count, blocks); }
    virtual void free_batch(std::size_t size, std::size_t count, void* const* blocks) { mpmm_free_batch(size, count, blocks); }
    virtual std::size_t usable_size(const void* block) { return mpmm_usable_size(block); }
    virtual std::size_t round_size(std::size_t size) { return mpmm_round_size(size); }
    virtual void* tcache_malloc(std::size_t size) { return mpmm_tcache_malloc(size); }
    virtual void* lcache_malloc(std::size_t size) { return mpmm_lcache_malloc(size); }
    virtual int stats(mpmm_stats& stats) { return mpmm_get_stats(&stats); }
    virtual int walk(mpmm_walk_callback callback, void* context) { return mpmm_heap_walk(callback, context); }
    virtual std::size_t verify() { return mpmm_verify_heap(); }
    virtual mpmm_address_info find(const void* address) { return mpmm_debugger_find(address); }
};

}  // namespace mpmm::fuzz
