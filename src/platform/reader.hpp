// SPDX-License-Identifier: Apache-2.0
// Reads memory of this process that may be protected, unmapped meanwhile, or mostly untouched, and never faults: the kernel copies it.
//
//   range   [ page | page | ...... | page | ...... ]     visit gets copies of the pages that can be read; pages that were never
//             copy   copy   absent   copy   refused      written to, or that may not be read, are left out
//
// For a task at a time; the copy is hidden from roots.
#pragma once

#include "platform/hidden.hpp"

#include <cstddef>
#include <cstdint>

namespace mpmm {

class Reader {
  public:
    /// Which pages hold nothing, by what the memory is.
    enum class Absent {
        may_hold_data,        ///< shared memory: it may be in nobody's page table and yet have contents
        is_zero,              ///< private anonymous memory: nobody wrote there
        is_zero_or_the_file,  ///< private memory, also of files: pages that are still the file's are left out too
    };
    using Visit = void (*)(void* context, const std::uintptr_t* begin, const std::uintptr_t* end);

    Reader();
    ~Reader();
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;

    /// False when there was no memory for it; then nothing else may be called.
    bool ready() const { return buffer_.size() != 0; }
    /// The kernel tells which pages are present, so that Absent means something; without it every page is read.
    bool knows_presence() const { return page_map_ >= 0; }
    /// Calls visit for the words of [begin, end), rounded inwards to words, in order.
    void words(std::uintptr_t begin, std::uintptr_t end, Absent absent, Visit visit, void* context);
    /// Copies as far as it can be read; the number of bytes.
    std::size_t copy(void* to, std::uintptr_t from, std::size_t size);

  private:
    /// Newer systems tell where the present pages are. False when this one does not; `begin` is how far it came.
    bool scan(std::uintptr_t& begin, std::uintptr_t end, Absent absent, Visit visit, void* context);
    void read(std::uintptr_t begin, std::uintptr_t end, Visit visit, void* context);

    static constexpr std::size_t copy_size_ = std::size_t{64} << 10;
    static constexpr std::size_t presence_count_ = 512;

    hidden::Memory buffer_;
    std::size_t page_;
    int page_map_, memory_ = -1;
    bool by_vector_ = true;
};

}  // namespace mpmm
