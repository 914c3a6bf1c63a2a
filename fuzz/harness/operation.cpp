// SPDX-License-Identifier: Apache-2.0
#include "harness/operation.hpp"

namespace mpmm::fuzz {

namespace {

std::uint16_t load16(const std::uint8_t* bytes) { return static_cast<std::uint16_t>(bytes[0] | bytes[1] << 8); }
void store16(std::uint16_t value, std::uint8_t* bytes) {
    bytes[0] = static_cast<std::uint8_t>(value);
    bytes[1] = static_cast<std::uint8_t>(value >> 8);
}

}  // namespace

Operation decode_operation(const std::uint8_t* bytes) {
    Operation operation;
    operation.kind = static_cast<Kind>(bytes[0] % known_kinds);
    operation.thread = static_cast<std::uint8_t>(bytes[1] % 4);
    operation.variant = static_cast<std::uint8_t>(bytes[1] / 4);
    operation.size = load16(bytes + 2);
    operation.slot = load16(bytes + 4);
    return operation;
}

void encode_operation(const Operation& operation, std::uint8_t* bytes) {
    bytes[0] = static_cast<std::uint8_t>(operation.kind);
    bytes[1] = static_cast<std::uint8_t>(operation.thread | operation.variant * 4);
    store16(operation.size, bytes + 2);
    store16(operation.slot, bytes + 4);
}

Program decode(std::span<const std::uint8_t> bytes) {
    Program program;
    if (bytes.empty()) return program;
    program.flavour = bytes[0];
    bytes = bytes.subspan(Program::header_size);
    program.operations.reserve(bytes.size() / Operation::record_size);
    for (; bytes.size() >= Operation::record_size; bytes = bytes.subspan(Operation::record_size))
        program.operations.push_back(decode_operation(bytes.data()));
    return program;
}

std::vector<std::uint8_t> encode(const Program& program) {
    std::vector<std::uint8_t> bytes(Program::header_size + program.operations.size() * Operation::record_size);
    bytes[0] = program.flavour;
    std::uint8_t* place = bytes.data() + Program::header_size;
    for (const Operation& operation : program.operations) {
        encode_operation(operation, place);
        place += Operation::record_size;
    }
    return bytes;
}

}  // namespace mpmm::fuzz
