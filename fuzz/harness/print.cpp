// SPDX-License-Identifier: Apache-2.0
#include "harness/print.hpp"

#include "harness/sizes.hpp"
#include "harness/test_backend.hpp"

namespace mpmm::fuzz {

namespace {

/// Which numbers of the record the operation looks at as what.
struct Reads {
    bool size = false;   ///< `size` is a size selector
    bool block = false;  ///< `slot` names a live block
};

Reads reads(Kind kind) {
    switch (kind) {
        case Kind::malloc:
        case Kind::zalloc:
        case Kind::aligned:
        case Kind::malloc_batch:
        case Kind::pairs:
        case Kind::tcache_malloc:
        case Kind::lcache_malloc:
        case Kind::trim: return {.size = true};
        case Kind::realloc:
        case Kind::resize: return {.size = true, .block = true};
        case Kind::free:
        case Kind::free_range:
        case Kind::free_sparse:
        case Kind::free_batch:
        case Kind::find: return {.block = true};
        default: return {};
    }
}

}  // namespace

const char* name(Kind kind) {
    static constexpr const char* names[] = {
#define X(word, ...) #word,
        MPMM_FUZZ_KINDS(X) MPMM_FUZZ_MISUSES(X)
#undef X
            "?"};
    return names[static_cast<unsigned>(kind)];
}

std::string describe(const Operation& operation) {
    std::ostringstream text;
    text << 'T' << unsigned{operation.thread} << ' ' << name(operation.kind);
    if (reads(operation.kind).size) text << " size " << request_size(operation.size);
    else text << " size " << operation.size;
    text << " slot " << operation.slot << " variant " << unsigned{operation.variant};
    return text.str();
}

std::string describe(const Operation& operation, const Model& model) {
    std::ostringstream text;
    text << describe(operation);
    if (reads(operation.kind).block && !model.empty()) {
        const Model::Block& block = model[model.slot(operation.slot)];
        text << " -> block " << model.slot(operation.slot) << " of " << model.size() << ": " << block.size << " bytes at "
             << static_cast<const void*>(block.address);
    }
    return text.str();
}

std::string describe(const Flavour& flavour) {
    if (flavour.system) return "the system";
    return std::string(flavour.zeroed ? "zeroed" : "not zeroed") + (flavour.purges ? "" : ", cannot purge") +
           (flavour.resizes ? "" : ", cannot resize");
}

std::string describe(const Program& program) {
    std::ostringstream text;
    text << "backend: " << describe(Flavour::decode(program.flavour)) << '\n';
    for (std::size_t i = 0; i < program.operations.size(); ++i) text << i << ": " << describe(program.operations[i]) << '\n';
    return text.str();
}

}  // namespace mpmm::fuzz
