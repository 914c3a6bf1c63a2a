// SPDX-License-Identifier: Apache-2.0
#include "harness/mutator.hpp"

#include "harness/operation.hpp"
#include "harness/sizes.hpp"

#include <algorithm>

namespace mpmm::fuzz {

namespace {

unsigned below(Random& random, std::size_t limit) { return static_cast<unsigned>(random() % std::max<std::size_t>(limit, 1)); }

Operation random_operation(Random& random) {
    Operation operation;
    operation.kind = static_cast<Kind>(below(random, known_kinds));
    operation.thread = static_cast<std::uint8_t>(below(random, thread_count));
    operation.variant = static_cast<std::uint8_t>(below(random, Operation::variant_count));
    // Small sizes are more often of interest than their share of the classes says.
    operation.size =
        static_cast<std::uint16_t>(boundary(below(random, below(random, 2) == 0 ? 30 : 128)) | below(random, 4) | below(random, 128) << 9);
    operation.slot = static_cast<std::uint16_t>(below(random, 2) == 0 ? below(random, 16) : below(random, 65536));
    return operation;
}

void nudge(Operation& operation, Random& random) {
    switch (below(random, 6)) {
        case 0: operation.size = static_cast<std::uint16_t>((operation.size & ~nudge_mask) | below(random, 3)); break;
        case 1: operation.size = static_cast<std::uint16_t>(operation.size + (below(random, 2) == 0 ? 4 : -4)); break;
        case 2: operation.slot = static_cast<std::uint16_t>(operation.slot + (below(random, 2) == 0 ? 1 : -1)); break;
        case 3: operation.thread = static_cast<std::uint8_t>(below(random, thread_count)); break;
        case 4: operation.variant = static_cast<std::uint8_t>(below(random, Operation::variant_count)); break;
        default: operation.slot = static_cast<std::uint16_t>(below(random, 65536)); break;
    }
}

std::size_t write(const Program& program, std::uint8_t* data, std::size_t most) {
    const auto bytes = encode(program);
    const std::size_t size = std::min(bytes.size(), most);
    std::copy_n(bytes.begin(), size, data);
    return size;
}

}  // namespace

std::size_t mutate(std::uint8_t* data, std::size_t size, std::size_t most, Random& random) {
    Program program = decode({data, size});
    auto& operations = program.operations;
    const auto at = [&](std::size_t extra) { return operations.begin() + below(random, operations.size() + extra); };
    for (unsigned changes = 1 + below(random, 3); changes != 0; --changes) {
        const unsigned what = operations.empty() ? 0 : below(random, 8);
        switch (what) {
            case 0: operations.insert(at(1), random_operation(random)); break;
            case 1: operations.erase(at(0)); break;
            case 2: {
                const Operation copy = *at(0);
                operations.insert(at(1), copy);
                break;
            }
            case 3: std::iter_swap(at(0), at(0)); break;
            case 4: *at(0) = random_operation(random); break;
            case 5: {
                // A stretch again, as another thread: what one thread did meets the same from elsewhere.
                const std::size_t first = below(random, operations.size()),
                                  length = std::min<std::size_t>(1 + below(random, 6), operations.size() - first);
                std::vector<Operation> stretch(operations.begin() + static_cast<long>(first),
                                               operations.begin() + static_cast<long>(first + length));
                const auto thread = static_cast<std::uint8_t>(below(random, thread_count));
                for (Operation& operation : stretch) operation.thread = thread;
                operations.insert(at(1), stretch.begin(), stretch.end());
                break;
            }
            default: nudge(*at(0), random); break;
        }
    }
    if (below(random, 16) == 0) program.flavour = static_cast<std::uint8_t>(below(random, 256));
    return write(program, data, most);
}

std::size_t cross(const std::uint8_t* first, std::size_t first_size, const std::uint8_t* second, std::size_t second_size, std::uint8_t* out,
                  std::size_t most, Random& random) {
    Program mixed = decode({first, first_size});
    const Program other = decode({second, second_size});
    if (!other.operations.empty()) {
        const std::size_t from = below(random, other.operations.size()), length = 1 + below(random, other.operations.size() - from);
        const auto begin = other.operations.begin() + static_cast<long>(from);
        mixed.operations.insert(mixed.operations.begin() + below(random, mixed.operations.size() + 1), begin,
                                begin + static_cast<long>(length));
    }
    return write(mixed, out, most);
}

}  // namespace mpmm::fuzz
