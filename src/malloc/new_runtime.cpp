// SPDX-License-Identifier: Apache-2.0
// The library must load into a C program without bringing the C++ runtime along, and yet throw in a C++ program. So the runtime's two
// functions it needs are weak references: null in a C program. When the runtime was loaded later, by dlopen, dlsym finds them.
#include "malloc/drop_in.hpp"
#include "verify/report.hpp"

#include <dlfcn.h>

extern "C" {
[[gnu::weak]] void mpmm_runtime_throw_bad_alloc() __asm__("_ZSt17__throw_bad_allocv");
[[gnu::weak]] std::new_handler mpmm_runtime_get_new_handler() __asm__("_ZSt15get_new_handlerv");
}

namespace mpmm::drop_in {
namespace {

template <class Function>
Function* runtime(Function* linked, const char* name) {
    return linked != nullptr ? linked : reinterpret_cast<Function*>(::dlsym(RTLD_DEFAULT, name));
}

}  // namespace

std::new_handler current_handler() {
    auto* const get = runtime(&mpmm_runtime_get_new_handler, "_ZSt15get_new_handlerv");
    return get != nullptr ? get() : nullptr;
}

void throw_bad_alloc(std::size_t size) {
    if (auto* const raise = runtime(&mpmm_runtime_throw_bad_alloc, "_ZSt17__throw_bad_allocv"); raise != nullptr) raise();
    report::cannot_throw(size);
}

}  // namespace mpmm::drop_in
