// SPDX-License-Identifier: Apache-2.0
// Where no other program is asked for names: addresses by module and offset, which addr2line and debuggers understand.
#include "platform/modules.hpp"
#include "verify/symbolize.hpp"

namespace mpmm::symbolize {

void set_time_limit(unsigned) {}

void all(const std::uintptr_t* pcs, std::size_t count, const char*, void (*visit)(void*, std::size_t, const Frame&), void* context) {
    // Large, and reports are made by one thread at a time.
    static constinit modules::Module module{};
    for (std::size_t i = 0; i < count; ++i) {
        Frame frame{pcs[i], "", "", 0, 0, "", 0, false};
        if (modules::find(pcs[i] - 1, module)) {
            frame.module = module.path;
            frame.offset = frame.pc - module.base;
        }
        visit(context, i, frame);
    }
}

}  // namespace mpmm::symbolize
