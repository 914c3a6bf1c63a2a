// SPDX-License-Identifier: Apache-2.0
#include "harness/heap_target.hpp"

#include "harness/executor.hpp"
#include "harness/print.hpp"
#include "harness/report_program.hpp"

namespace mpmm::fuzz {

namespace {

const Program* running = nullptr;

}  // namespace

const Shape heap_inputs{split_records<Program::header_size, Operation::record_size>, join_pieces,
                        [](const Bytes& header) { return "backend: " + describe(Flavour::decode(header[0])); },
                        [](std::size_t, const Bytes& item) { return describe(decode_operation(item.data())); },
                        [](const std::string& text) -> std::optional<Bytes> {
                            const auto program = program_of_report(text);
                            return program ? std::optional(encode(*program)) : std::nullopt;
                        }};

int run_heap_input(const std::uint8_t* data, std::size_t size, Executor& executor) {
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

}  // namespace mpmm::fuzz
