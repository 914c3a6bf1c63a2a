// SPDX-License-Identifier: Apache-2.0
// The allocator as nobody has used it: what its variables held then is kept, and put back before every run. Which variables there are is read
// from the symbol table of the program itself.
#pragma once

#include <cstddef>
#include <vector>

namespace mpmm::fuzz {

class UnusedAllocator {
  public:
    /// Keeps what the variables hold now.
    UnusedAllocator();
    /// What was given to the allocator since then is lost to it: take the memory back from the backend.
    void put_back() const;

  private:
    struct Variable {
        std::byte* address;
        std::size_t size;
        std::size_t kept_at;
    };
    std::vector<Variable> variables_;
    std::vector<std::byte> kept_;
};

}  // namespace mpmm::fuzz
