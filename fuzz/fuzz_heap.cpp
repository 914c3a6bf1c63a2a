// SPDX-License-Identifier: Apache-2.0
// The whole heap: every single-threaded operation, four thread caches, faults of the backend.
#include "harness/executor.hpp"
#include "harness/print.hpp"
#include "harness/target.hpp"

using namespace mpmm::fuzz;

namespace {

const Program* running = nullptr;

}  // namespace

const Shape mpmm::fuzz::shape{split_records<Program::header_size, Operation::record_size>, join_pieces,
                              [](const Bytes& header) { return "backend: " + describe(Flavour::decode(header[0])); },
                              [](std::size_t, const Bytes& item) { return describe(decode_operation(item.data())); }};

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static Subject subject;
    static Executor executor(subject);
    show_on_abort([] {
        if (running != nullptr) std::cerr << describe(*running) << std::flush;
    });
    const Program program = decode({data, size});
    running = &program;
    judge([&] {
        if (const auto failure = executor.run(program, trace)) throw *failure;
    });
    running = nullptr;
    return 0;
}
