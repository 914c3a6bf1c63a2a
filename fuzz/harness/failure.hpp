// SPDX-License-Identifier: Apache-2.0
// What a check throws when the allocator did something it must not.
#pragma once

#include <sstream>
#include <string>

namespace mpmm::fuzz {

struct Failure {
    std::string message;
};

/// Throws a Failure whose message is the arguments one after another.
template <class... Parts>
[[noreturn, gnu::noinline, gnu::cold]] void fail(const Parts&... parts) {
    std::ostringstream text;
    (text << ... << parts);
    throw Failure{text.str()};
}

/// A check: fail() unless `holds`.
template <class... Parts>
void expect(bool holds, const Parts&... parts) {
    if (!holds) [[unlikely]]
        fail(parts...);
}

}  // namespace mpmm::fuzz
