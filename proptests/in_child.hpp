// SPDX-License-Identifier: Apache-2.0
// A case that changes what belongs to the whole process, such as settings or limits, runs in a child of its own.
#pragma once

#include <cstring>
#include <optional>
#include <rapidcheck.h>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

namespace mpmm::test {

/// Runs check() in a child; an assertion that fails there fails here. Values must be generated before.
template <class Check>
void in_child(Check check) {
    int ends[2];
    RC_ASSERT(::pipe(ends) == 0);
    const pid_t child = ::fork();
    RC_ASSERT(child >= 0);
    if (child == 0) {
        try {
            check();
        } catch (const rc::detail::CaseResult& result) {
            const auto& text = result.description;
            if (::write(ends[1], text.data(), text.size()) >= 0) ::_exit(1);
        }
        ::_exit(0);
    }
    ::close(ends[1]);
    std::string text;
    char buffer[4096];
    for (ssize_t got = 0; (got = ::read(ends[0], buffer, sizeof buffer)) > 0;) text.append(buffer, static_cast<std::size_t>(got));
    ::close(ends[0]);
    int status = 0;
    RC_ASSERT(::waitpid(child, &status, 0) == child);
    if (WIFSIGNALED(status)) RC_FAIL(std::string("the child died: ") + ::strsignal(WTERMSIG(status)));
    if (status != 0) RC_FAIL(text);
}

}  // namespace mpmm::test
