// SPDX-License-Identifier: Apache-2.0
#include "detect/expect.hpp"

#include "detect/report.hpp"

#include <algorithm>
#include <csignal>
#include <regex>

namespace mpmm::detect {
namespace {

/// What the program said on stdout.
struct Said {
    unsigned long process = 0;
    std::uint64_t block = 0, size = 0, address = 0;
    bool all = false;
};

Said said_by(const std::string& out, bool wants_address) {
    Said said;
    std::smatch found;
    static const std::regex process("pid (\\d+)\n"), block("block 0x([0-9a-f]+) size (\\d+)\n"), address("address 0x([0-9a-f]+)\n");
    if (!std::regex_search(out, found, process)) return said;
    said.process = std::stoul(found[1]);
    if (!std::regex_search(out, found, block)) return said;
    said.block = std::stoull(found[1], nullptr, 16);
    said.size = std::stoull(found[2]);
    if (std::regex_search(out, found, address)) said.address = std::stoull(found[1], nullptr, 16);
    said.all = said.address != 0 || !wants_address;
    return said;
}

/// Checks one report, and collects what is wrong.
class Judge {
  public:
    Judge(const Case& test, const Said& said, const Report& report) : test_(test), said_(said), report_(report) {}

    std::vector<std::string> judge() {
        want(report_.process == said_.process, "the process");
        want(report_.kind == kind_of(test_.error), "the kind: " + report_.kind);
        if (leaking(test_.error)) {
            judge_leaks();
            return std::move(wrong_);
        }
        want(report_.address == said_.address, "the address of the error");
        want(!report_.explanation.empty(), "an explanation");
        want(std::regex_match(report_.summary, std::regex(std::string(kind_of(test_.error)) + " \\S+( in .+)?")),
             "the summary: " + report_.summary);
        judge_current();
        if (!of_no_block(test_.error)) judge_block();
        if (of_wrong_size(test_.error)) {
            want_words(std::to_string(wrong_size(test_)));
            want_words(std::to_string(test_.size));
        }
        if (of_kind(test_.error, "alloc-dealloc-mismatch")) judge_families();
        return std::move(wrong_);
    }

  private:
    void want(bool condition, const std::string& what) {
        if (!condition) wrong_.push_back(what);
    }
    void want_words(const std::string& words) {
        want(report_.explanation.find(words) != std::string::npos, "'" + words + "' in the explanation: " + report_.explanation);
    }

    bool in_worker() const { return test_.relation == Relation::other || test_.relation == Relation::batch; }

    void judge_current() {
        // A check at exit has no stack of the error. Writes to large freed blocks may fault, and then they have one.
        if (test_.found == Found::at_exit) return;
        want(in_worker() == (report_.thread != 0), "the thread of the error: T" + std::to_string(report_.thread));
        const char* const function = test_.found == Found::at_free      ? "free_the_block"
                                     : test_.found == Found::at_realloc ? "realloc_the_block"
                                                                        : "misuse_the_block";
        want(shows(report_.current, function), std::string("the stack of the error shows ") + function);
        want(shows(report_.current, "main") || in_worker(), "the stack of the error reaches main");
    }

    void judge_block() {
        const bool freed = freed_before(test_.error);
        want(report_.allocated.has_value(), "who allocated");
        if (report_.allocated) {
            want(shows(report_.allocated->stack, "allocate_the_block"), "the allocation's stack shows allocate_the_block");
            want((report_.allocated->thread != 0) == (test_.relation == Relation::ended), "the thread of the allocation");
            want(report_.says_previously == freed, "'previously allocated' if and only if it was freed");
        }
        want(report_.freed.has_value() == freed, "who freed, if and only if it was freed");
        if (report_.freed && freed) {
            const char* const function = test_.error == Error::stale_after_realloc ? "realloc_the_block" : "free_the_block";
            want(shows(report_.freed->stack, function), std::string("the free's stack shows ") + function);
            want((report_.freed->thread != 0) == (test_.relation == Relation::batch), "the thread of the free");
            if (in_worker() && test_.found == Found::at_once)
                want((report_.freed->thread == report_.thread) == (test_.relation == Relation::batch), "the threads of free and error");
        }
        want(report_.location.has_value(), "where the address is");
        if (report_.location) judge_location(*report_.location);
    }

    void judge_location(const Location& location) {
        want(location.address == said_.address, "the location's address");
        want(location.begin == said_.block, "the block's beginning");
        want(location.size == said_.size && location.end == location.begin + location.size,
             "the block's size: " + std::to_string(location.size));
        const std::uint64_t end = said_.block + said_.size;
        const bool before = said_.address < said_.block, after = said_.address >= end;
        want(location.side == (before ? "before" : after ? "after" : "inside of"), "the side: " + location.side);
        const std::uint64_t distance = before ? said_.block - said_.address : after ? said_.address - end : said_.address - said_.block;
        want(location.distance == distance, "the distance: " + std::to_string(location.distance));
    }

    void judge_families() {
        want_words(making_families[static_cast<std::size_t>(test_.making)]);
        want_words(test_.error == Error::wrong_free           ? "free"
                   : test_.error == Error::wrong_realloc      ? "realloc"
                   : test_.error == Error::wrong_delete_array ? "delete[]"
                                                              : "delete");
    }

    void judge_leaks() {
        const std::uint64_t objects = objects_of(test_.error);
        std::uint64_t bytes = 0, count = 0, direct = 0;
        for (const Leak& leak : report_.leaks) {
            bytes += leak.bytes;
            count += leak.objects;
            if (leak.direct) direct += leak.objects;
            want(shows(leak.stack, "allocate_the_block"), "each leak's stack shows allocate_the_block");
        }
        want(bytes == objects * test_.size && count == objects,
             "the leaks: " + std::to_string(bytes) + " bytes in " + std::to_string(count));
        want(direct == 1, "one direct leak, the others through it: " + std::to_string(direct));
        want(report_.summary == std::to_string(bytes) + " byte(s) leaked in " + std::to_string(count) + " allocation(s).",
             "the summary: " + report_.summary);
    }

    const Case& test_;
    const Said& said_;
    const Report& report_;
    std::vector<std::string> wrong_;
};

}  // namespace

std::vector<std::string> complaints(const Case& test, const test::Outcome& outcome) {
    const std::vector<std::string> lines = outcome.error_lines();
    const auto errors =
        std::count_if(lines.begin(), lines.end(), [](const auto& line) { return line.find("ERROR: mpmm:") != std::string::npos; });
    if (errors != 1) return {"exactly one report: " + std::to_string(errors)};
    const std::vector<Report> reports = parse_reports(outcome.err);
    if (reports.size() != 1) return {"the first line's form"};
    const Said said = said_by(outcome.out, !leaking(test.error));
    if (!said.all) return {"what the program says"};
    std::vector<std::string> wrong = Judge(test, said, reports[0]).judge();
    if (leaking(test.error) ? !outcome.exited_with(23) : !outcome.killed_by(SIGABRT)) wrong.push_back("how the process ends");
    if ((test.found == Found::at_exit) != (outcome.out.find("survived\n") != std::string::npos) &&
        !(freed_before(test.error) && test.size >= medium))
        wrong.push_back("when it is found");
    return wrong;
}

}  // namespace mpmm::detect
