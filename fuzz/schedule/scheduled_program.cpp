// SPDX-License-Identifier: Apache-2.0
#include "schedule/scheduled_program.hpp"

#include "harness/print.hpp"
#include "harness/sizes.hpp"

#include <algorithm>
#include <sstream>

namespace mpmm::fuzz {

namespace {

constexpr unsigned strategies = 3, max_depth = 8;
constexpr std::size_t max_directives = 65535;

std::uint32_t load(const std::uint8_t* bytes, unsigned count) {
    std::uint32_t value = 0;
    for (unsigned i = 0; i < count; ++i) value |= std::uint32_t{bytes[i]} << 8 * i;
    return value;
}
void store(std::uint32_t value, unsigned count, std::uint8_t* bytes) {
    for (unsigned i = 0; i < count; ++i) bytes[i] = static_cast<std::uint8_t>(value >> 8 * i);
}

const char* name(Strategy strategy) {
    static constexpr const char* names[] = {"pct", "random", "directed"};
    return names[static_cast<unsigned>(strategy)];
}

/// Bugs need few switches, mostly early ones.
std::uint32_t random_step(Random& random) { return static_cast<std::uint32_t>(random() % (random() % 2 == 0 ? 60 : 600)); }

Directive decode_directive(const std::uint8_t* bytes) {
    return {load(bytes, 3), static_cast<std::uint8_t>(bytes[3] & 127), bytes[3] >= 128};
}
void encode_directive(const Directive& directive, std::uint8_t* bytes) {
    store(directive.at, 3, bytes);
    bytes[3] = static_cast<std::uint8_t>((directive.value & 127) | (directive.of_a_load ? 128 : 0));
}

std::string describe(const Plan& plan) {
    std::ostringstream text;
    text << unsigned{plan.threads} << " threads, " << name(plan.strategy) << ", depth " << unsigned{plan.depth} << ", seed " << plan.seed
         << (plan.weak ? ", weak memory" : "");
    return text.str();
}

}  // namespace

ScheduledProgram decode_scheduled(std::span<const std::uint8_t> bytes) {
    ScheduledProgram scheduled;
    std::uint8_t header[ScheduledProgram::header_size]{};
    const std::size_t have = std::min(bytes.size(), sizeof header);
    std::copy_n(bytes.begin(), have, header);
    bytes = bytes.subspan(have);
    // The system's own memory (see Flavour) would make runs depend on where it is.
    scheduled.program.flavour = header[0] % 16 == 15 ? 0 : header[0];
    Plan& plan = scheduled.plan;
    plan.threads = static_cast<std::uint8_t>(2 + header[1] % 4 % 3);
    plan.strategy = static_cast<Strategy>(header[1] / 4 % 4 % strategies);
    plan.weak = (header[1] & 16) != 0;
    plan.depth = static_cast<std::uint8_t>(1 + header[2] % max_depth);
    plan.seed = load(header + 5, 4);
    for (std::uint32_t left = load(header + 3, 2); left != 0 && bytes.size() >= ScheduledProgram::directive_size; --left) {
        plan.directives.push_back(decode_directive(bytes.data()));
        bytes = bytes.subspan(ScheduledProgram::directive_size);
    }
    for (; bytes.size() >= Operation::record_size; bytes = bytes.subspan(Operation::record_size)) {
        Operation operation = decode_operation(bytes.data());
        operation.thread = static_cast<std::uint8_t>(operation.thread % plan.threads);
        scheduled.program.operations.push_back(operation);
    }
    return scheduled;
}

std::vector<std::uint8_t> encode(const ScheduledProgram& scheduled) {
    const Plan& plan = scheduled.plan;
    const auto& operations = scheduled.program.operations;
    const std::size_t directives = std::min(plan.directives.size(), max_directives);
    std::vector<std::uint8_t> bytes(ScheduledProgram::header_size + directives * ScheduledProgram::directive_size +
                                    operations.size() * Operation::record_size);
    bytes[0] = scheduled.program.flavour;
    bytes[1] = static_cast<std::uint8_t>((plan.threads - 2) | static_cast<unsigned>(plan.strategy) * 4 | (plan.weak ? 16 : 0));
    bytes[2] = static_cast<std::uint8_t>(plan.depth - 1);
    store(static_cast<std::uint32_t>(directives), 2, bytes.data() + 3);
    store(plan.seed, 4, bytes.data() + 5);
    std::uint8_t* place = bytes.data() + ScheduledProgram::header_size;
    for (std::size_t i = 0; i < directives; ++i, place += ScheduledProgram::directive_size) encode_directive(plan.directives[i], place);
    for (const Operation& operation : operations) {
        encode_operation(operation, place);
        place += Operation::record_size;
    }
    return bytes;
}

ScheduledProgram random_scheduled(Random& random) {
    const auto below = [&](unsigned limit) { return static_cast<unsigned>(random() / 64 % limit); };
    ScheduledProgram scheduled;
    Plan& plan = scheduled.plan;
    plan.threads = static_cast<std::uint8_t>(2 + below(10) / 6 + below(10) / 8);
    plan.strategy = below(4) == 0 ? Strategy::random : Strategy::pct;
    plan.depth = static_cast<std::uint8_t>(1 + below(4));
    plan.weak = below(3) == 0;
    plan.seed = static_cast<std::uint32_t>(random());
    for (unsigned left = below(plan.depth + 1u); left != 0; --left) plan.directives.push_back({random_step(random), 0, false});
    scheduled.program.flavour = static_cast<std::uint8_t>(below(8));
    static constexpr Kind often[] = {Kind::malloc, Kind::malloc_batch, Kind::free, Kind::free, Kind::free_range, Kind::free_sparse};
    static constexpr Kind seldom[] = {Kind::zalloc,         Kind::aligned,     Kind::free_batch, Kind::realloc,      Kind::resize,
                                      Kind::tcache_malloc,  Kind::pairs,       Kind::purge,      Kind::tcache_flush, Kind::tcache_release,
                                      Kind::tcache_release, Kind::tcache_init, Kind::trim,       Kind::time,         Kind::option,
                                      Kind::fault,          Kind::verify,      Kind::walk,       Kind::lcache_purge, Kind::lcache_malloc};
    const Kind extra[] = {seldom[below(std::size(seldom))], seldom[below(std::size(seldom))], seldom[below(std::size(seldom))]};
    // Classes of two to eight blocks to a block allocator, or any.
    const std::uint16_t sizes[] = {boundary(95 + below(18)), boundary(below(2) == 0 ? 95 + below(18) : below(113))};
    for (unsigned left = 4 + below(24); left != 0; --left) {
        Operation operation;
        operation.kind = below(3) != 0 ? often[below(std::size(often))] : extra[below(std::size(extra))];
        operation.thread = static_cast<std::uint8_t>(below(plan.threads));
        operation.variant = static_cast<std::uint8_t>(below(Operation::variant_count));
        operation.size = sizes[below(4) == 0 ? 1 : 0];
        operation.slot = static_cast<std::uint16_t>(below(256));
        scheduled.program.operations.push_back(operation);
    }
    return scheduled;
}

std::size_t mutate_scheduled(std::uint8_t* data, std::size_t size, std::size_t most, Random& random) {
    ScheduledProgram scheduled = decode_scheduled({data, size});
    Plan& plan = scheduled.plan;
    const auto thread = [&] { return static_cast<std::uint8_t>(random() % plan.threads); };
    if (random() % 64 == 0) scheduled = random_scheduled(random);
    switch (random() % 9) {
        case 0: plan.seed = static_cast<std::uint32_t>(random()); break;
        case 1: plan.directives.push_back({random_step(random), thread(), plan.weak && random() % 3 == 0}); break;
        case 2:
            if (!plan.directives.empty())
                plan.directives.erase(plan.directives.begin() + static_cast<long>(random() % plan.directives.size()));
            break;
        case 3:
            if (!plan.directives.empty()) {
                Directive& directive = plan.directives[random() % plan.directives.size()];
                directive.at = random() % 2 == 0 ? random_step(random) : directive.at + static_cast<std::uint32_t>(random() % 5) - 2;
                if (random() % 3 == 0) directive.value = thread();
            }
            break;
        case 4:
            plan.strategy = static_cast<Strategy>(random() % strategies);
            plan.depth = static_cast<std::uint8_t>(1 + random() % 4);
            if (random() % 4 == 0) plan.weak = !plan.weak;
            if (random() % 4 == 0) plan.threads = static_cast<std::uint8_t>(2 + random() % 3);
            break;
        case 5:
            // The same size for a stretch: blocks of one class meet.
            if (auto& operations = scheduled.program.operations; !operations.empty()) {
                const std::size_t first = random() % operations.size(), end = std::min(operations.size(), first + 1 + random() % 6);
                for (std::size_t i = first; i < end; ++i) operations[i].size = operations[first].size;
            }
            break;
        default: {
            std::vector<std::uint8_t> bytes = encode(scheduled.program);
            const std::size_t length = bytes.size(), room = most > length ? most : length + Operation::record_size;
            bytes.resize(room);
            bytes.resize(mutate(bytes.data(), length, room, random));
            scheduled.program = decode(bytes);
            break;
        }
    }
    const auto bytes = encode(scheduled);
    const std::size_t written = std::min(bytes.size(), most);
    std::copy_n(bytes.begin(), written, data);
    return written;
}

Pieces split_scheduled(const Bytes& input) {
    const ScheduledProgram scheduled = decode_scheduled(input);
    Pieces pieces{encode({{scheduled.program.flavour, {}}, scheduled.plan}), {{}, {}}};
    pieces.header.resize(ScheduledProgram::header_size);
    for (const Directive& directive : scheduled.plan.directives)
        encode_directive(directive, pieces.groups[0].emplace_back(ScheduledProgram::directive_size).data());
    for (const Operation& operation : scheduled.program.operations)
        encode_operation(operation, pieces.groups[1].emplace_back(Operation::record_size).data());
    return pieces;
}

Bytes join_scheduled(const Pieces& pieces) {
    Bytes bytes = join_pieces(pieces);
    store(static_cast<std::uint32_t>(pieces.groups[0].size()), 2, bytes.data() + 3);
    return bytes;
}

std::string describe_directive(const Directive& directive) {
    const std::string at = std::to_string(directive.at), value = std::to_string(directive.value);
    return directive.of_a_load ? "load " + at + " sees what was there " + value + " stores before" : "step " + at + ": thread " + value;
}

std::string describe_scheduled_item(std::size_t group, const Bytes& item) {
    return group == 0 ? describe_directive(decode_directive(item.data())) : describe(decode_operation(item.data()));
}

std::string describe_scheduled_header(const Bytes& header) {
    const ScheduledProgram scheduled = decode_scheduled(header);
    return describe(scheduled.plan) + "; backend: " + describe(Flavour::decode(scheduled.program.flavour));
}

std::string describe(const ScheduledProgram& scheduled) {
    std::string text = describe(scheduled.plan) + '\n';
    for (const Directive& directive : scheduled.plan.directives) text += describe_directive(directive) + '\n';
    return text + describe(scheduled.program);
}

}  // namespace mpmm::fuzz
