// SPDX-License-Identifier: Apache-2.0
#include "harness/target.hpp"

#include <csignal>

namespace mpmm::fuzz {

namespace {

void (*show)() = nullptr;
struct sigaction driver_abort;

void on_abort(int signal, siginfo_t* info, void* context) {
    show();
    if (driver_abort.sa_sigaction != nullptr) driver_abort.sa_sigaction(signal, info, context);
}

}  // namespace

Bytes join_pieces(const Pieces& pieces) {
    Bytes bytes = pieces.header;
    for (const auto& group : pieces.groups)
        for (const Bytes& item : group) bytes.insert(bytes.end(), item.begin(), item.end());
    return bytes;
}

void show_on_abort(void (*function)()) {
    if (show != nullptr) return;
    show = function;
    struct sigaction action{};
    action.sa_sigaction = on_abort;
    action.sa_flags = SA_SIGINFO;
    ::sigaction(SIGABRT, &action, &driver_abort);
}

}  // namespace mpmm::fuzz
