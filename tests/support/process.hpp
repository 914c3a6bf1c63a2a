// SPDX-License-Identifier: Apache-2.0
// Runs a program to its end, and gives back what it printed and how it ended.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace mpmm::test {

struct Outcome {
    std::string out, err;
    int status = 0;  ///< as waitpid() gives it

    bool exited_with(int code) const;
    bool killed_by(int signal) const;
    /// Everything, for a failed assertion's message.
    std::string text() const;
    /// The lines of `err`.
    std::vector<std::string> error_lines() const;
};

/// Runs `command`. Its environment is this process's without LD_PRELOAD and MPMM_OPTIONS, plus `environment`. A program that hangs is
/// ended by SIGALRM after `alarm_seconds`.
Outcome run(const std::vector<std::string>& command, const std::map<std::string, std::string>& environment = {},
            unsigned alarm_seconds = 100);

}  // namespace mpmm::test
