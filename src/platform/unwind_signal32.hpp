// SPDX-License-Identifier: Apache-2.0
// The code to which signal handlers return on i386, in the C library or in the vdso. There are two: they find the registers in different
// places.
#pragma once

#include "platform/unwind_stack.hpp"

namespace mpmm::unwind {

struct SignalReturn32 {
    /// popl %eax; movl $119, %eax; int $0x80.
    static bool is_plain(std::uintptr_t at) {
        constexpr unsigned char code[] = {0x58, 0xB8, 119, 0, 0, 0, 0xCD, 0x80};
        return StackReader::holds(at, code);
    }
    /// movl $173, %eax; int $0x80: of handlers with SA_SIGINFO.
    static bool is_with_info(std::uintptr_t at) {
        constexpr unsigned char code[] = {0xB8, 173, 0, 0, 0, 0xCD, 0x80};
        return StackReader::holds(at, code);
    }
};

}  // namespace mpmm::unwind
