// SPDX-License-Identifier: Apache-2.0
//
// mpmm.hpp - the C++ API of MPMM: standard allocators and owners over the sized C API of mpmm.h. Header-only; link with mpmm::mpmm or
// mpmm::verify. Everything here may be used from any thread. Since 0.1.
#ifndef MPMM_MPMM_HPP
#define MPMM_MPMM_HPP

#include <mpmm/mpmm.h>

#include <cstddef>
#include <limits>
#include <memory>
#include <memory_resource>
#include <new>
#include <type_traits>
#include <utility>

namespace mpmm {

namespace detail {

/// Memory of `size` bytes at `alignment`; throws std::bad_alloc when there is none.
inline void* allocate(std::size_t size, std::size_t alignment) {
    void* const block = alignment <= mpmm_good_alignment(size) ? mpmm_malloc(size) : mpmm_aligned_alloc(alignment, size);
    if (block == nullptr) throw std::bad_alloc();
    return block;
}

}  // namespace detail

/// A std::pmr::memory_resource over the process's heap. All of them are equal: what one allocated any other may free.
class memory_resource final : public std::pmr::memory_resource {
    void* do_allocate(std::size_t size, std::size_t alignment) override { return detail::allocate(size, alignment); }
    void do_deallocate(void* block, std::size_t size, std::size_t) override { mpmm_free(block, size); }
    bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override {
        return dynamic_cast<const memory_resource*>(&other) != nullptr;
    }
};

/// An allocator for containers ([allocator.requirements]): stateless, so every one is equal to every other.
template <class T>
class allocator {
  public:
    using value_type = T;
    using is_always_equal = std::true_type;
    using propagate_on_container_move_assignment = std::true_type;

    constexpr allocator() noexcept = default;
    template <class U>
    constexpr allocator(const allocator<U>&) noexcept {}

    /// Room for `count` objects; throws std::bad_array_new_length when their size cannot be represented, std::bad_alloc when out of memory.
    [[nodiscard]] T* allocate(std::size_t count) {
        if (count > std::numeric_limits<std::size_t>::max() / sizeof(T)) throw std::bad_array_new_length();
        return static_cast<T*>(detail::allocate(count * sizeof(T), alignof(T)));
    }
    void deallocate(T* block, std::size_t count) noexcept { mpmm_free(block, count * sizeof(T)); }

    friend constexpr bool operator==(const allocator&, const allocator&) noexcept { return true; }
};

/// Destroys and frees what make_unique() made.
template <class T>
struct deleter {
    void operator()(T* object) const noexcept {
        std::destroy_at(object);
        mpmm_free(object, sizeof(T));
    }
};
template <class T>
using unique_ptr = std::unique_ptr<T, deleter<T>>;

/// An object in MPMM's memory; throws std::bad_alloc, and whatever the constructor throws, with nothing leaked.
template <class T, class... Args>
[[nodiscard]] unique_ptr<T> make_unique(Args&&... args) {
    allocator<T> memory;
    T* const place = memory.allocate(1);
    try {
        return unique_ptr<T>(::new (static_cast<void*>(place)) T(std::forward<Args>(args)...));
    } catch (...) {
        memory.deallocate(place, 1);
        throw;
    }
}

/// Owns one block of raw bytes and its size.
class block {
  public:
    block() noexcept = default;
    /// `size` bytes; throws std::bad_alloc.
    explicit block(std::size_t size) : data_(detail::allocate(size, 1)), size_(size) {}
    block(block&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    block& operator=(block&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        return *this;
    }
    ~block() { mpmm_free(data_, size_); }

    void* data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }
    /// Changes the size and keeps the content; throws std::bad_alloc and leaves the block as it was when out of memory.
    void resize(std::size_t size) {
        void* const moved = mpmm_realloc(data_, size_, size);
        if (moved == nullptr) throw std::bad_alloc();
        data_ = moved;
        size_ = size;
    }
    /// Gives the block up: free it with mpmm_free() and the size it had.
    [[nodiscard]] void* release() noexcept {
        size_ = 0;
        return std::exchange(data_, nullptr);
    }

  private:
    void* data_ = nullptr;
    std::size_t size_ = 0;
};

/// Gives the thread's cache up at the end of a scope, as thread exit does: for threads that go to sleep for long.
class thread_cache_scope {
  public:
    thread_cache_scope() { mpmm_tcache_init(); }
    ~thread_cache_scope() { mpmm_tcache_release(); }
    thread_cache_scope(const thread_cache_scope&) = delete;
    thread_cache_scope& operator=(const thread_cache_scope&) = delete;
};

}  // namespace mpmm

#endif  // MPMM_MPMM_HPP
