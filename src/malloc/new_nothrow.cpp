// SPDX-License-Identifier: Apache-2.0
// The only place that catches. Catching refers to the C++ runtime by name; made weak, those names do not bring it into C programs. They are
// only used after a new-handler threw, and then the runtime is there.
#include "malloc/drop_in.hpp"

#ifdef __ELF__
__asm__(".weak __gxx_personality_v0\n.weak __cxa_begin_catch\n.weak __cxa_end_catch\n.weak _Unwind_Resume\n");
#endif

namespace mpmm::drop_in {

void* new_nothrow_slow(Family family, std::size_t size, std::size_t alignment) noexcept {
    try {
        return new_slow(family, size, alignment);
    } catch (...) {
        return nullptr;
    }
}

}  // namespace mpmm::drop_in
