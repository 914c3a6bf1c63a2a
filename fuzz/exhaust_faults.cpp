// SPDX-License-Identifier: Apache-2.0
// exhaust_faults FILE|FOLDER...: runs each program for the whole heap again for every call that it makes of the backend: once with that call
// refused, and once with that and all later ones of its kind. Prints how many runs that were.
#include "harness/executor.hpp"
#include "harness/inputs.hpp"
#include "harness/print.hpp"

#include <iostream>

using namespace mpmm::fuzz;

namespace {

constexpr unsigned for_ever = 1'000'000;

class Exhauster {
  public:
    bool run(const Program& program) {
        std::size_t before[TestBackend::call_count];
        for (unsigned call = 0; call < TestBackend::call_count; ++call) before[call] = calls(call);
        if (!holds(program, 0, 0, 0)) return false;
        for (unsigned call = 0; call < TestBackend::call_count; ++call) {
            const auto made = static_cast<unsigned>(calls(call) - before[call]);
            made_[call] += made;
            for (unsigned n = 0; n < made; ++n)
                if (!holds(program, call, n, 1) || !holds(program, call, n, for_ever)) return false;
        }
        return true;
    }
    void print(std::size_t programs) const {
        static constexpr const char* names[] = {"allocate", "deallocate", "purge", "resize"};
        std::cout << programs << " programs, " << runs_ << " runs: calls";
        for (unsigned call = 0; call < TestBackend::call_count; ++call) std::cout << ' ' << names[call] << ' ' << made_[call];
        std::cout << " (" << mpmm_version() << ")\n";
    }

  private:
    std::size_t calls(unsigned call) const { return TestBackend::instance().calls(static_cast<TestBackend::Call>(call)); }
    bool holds(const Program& program, unsigned call, unsigned after, unsigned times) {
        ++runs_;
        executor_.refuse_from_the_start(static_cast<TestBackend::Call>(call), after, times);
        const auto failure = executor_.run(program);
        if (failure)
            std::cerr << "FAILED: with call " << call << " refused " << times << " times after " << after << ": " << failure->message
                      << '\n';
        return !failure;
    }

    Subject subject_;
    Executor executor_{subject_};
    unsigned long runs_ = 0, made_[TestBackend::call_count]{};
};

}  // namespace

int main(int count, char** arguments) {
    Exhauster exhauster;
    std::size_t programs = 0;
    for (int i = 1; i < count; ++i)
        for (const auto& file : files_of(arguments[i])) {
            Program program = decode(read(file));
            std::erase_if(program.operations, [](const Operation& operation) { return operation.kind == Kind::fault; });
            ++programs;
            if (exhauster.run(program)) continue;
            std::cerr << file.string() << '\n' << describe(program);
            return 1;
        }
    if (programs == 0) {
        std::cerr << "usage: exhaust_faults FILE|FOLDER...\n";
        return 2;
    }
    exhauster.print(programs);
    return 0;
}
