// SPDX-License-Identifier: Apache-2.0
// A backend that refuses and answers wrongly, under programs for the whole heap: requests fail with ENOMEM and nothing is lost, and each wrong
// answer is reported once.
#include "harness/executor.hpp"
#include "harness/heap_target.hpp"
#include "verify/report.hpp"

#include <cstring>

using namespace mpmm;
using namespace mpmm::fuzz;

namespace {

std::size_t reports = 0;

void count_report(void*, const char* text) {
    if (std::strstr(text, "backend returned") != nullptr) ++reports;
    if (trace != nullptr) *trace << text << std::endl;
}

}  // namespace

const Shape mpmm::fuzz::shape = heap_inputs;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static Subject subject;
    static Executor executor(subject);
    mpmm_debugger_callbacks callbacks{};
    callbacks.warning = count_report;
    report::set_callbacks(callbacks);
    executor.let_backend_misbehave(reports);
    return run_heap_input(data, size, executor);
}
