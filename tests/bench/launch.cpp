// SPDX-License-Identifier: Apache-2.0
//
// bench_launch REPORT PRELOAD REPEAT PROGRAM [ARG...] runs a program REPEAT times, one after the other, with LD_PRELOAD set to
// PRELOAD ("" for none), and writes to the file REPORT: "STATUS USER_AND_SYSTEM_SECONDS WALL_SECONDS PEAK_RSS_KIB", with the
// times of all runs together. The kernel counts the memory of the process that forks as the child's first peak, so a small
// program has to do it: the interpreter of compare.py alone is bigger than some of the workloads.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

double seconds(const timeval& time) { return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6; }

/// Runs the program once and adds its time to *cpu; returns its exit code, or 128 + the signal that ended it.
int run(const char* preload, char** command, double* cpu, long* peak) {
    const pid_t child = ::fork();
    if (child < 0) {
        std::perror("bench_launch: fork");
        return 126;
    }
    if (child == 0) {
        if (preload[0] != '\0') {
            ::setenv("LD_PRELOAD", preload, 1);
        } else {
            ::unsetenv("LD_PRELOAD");
        }
        ::execvp(command[0], command);
        std::fprintf(stderr, "bench_launch: %s: %s\n", command[0], std::strerror(errno));
        std::_Exit(127);
    }
    int status = 0;
    rusage usage{};
    while (::wait4(child, &status, 0, &usage) < 0) {
        if (errno != EINTR) {
            std::perror("bench_launch: wait4");
            return 126;
        }
    }
    *cpu += seconds(usage.ru_utime) + seconds(usage.ru_stime);
    *peak = std::max(*peak, usage.ru_maxrss);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 5) {
        std::fprintf(stderr, "usage: bench_launch REPORT PRELOAD REPEAT PROGRAM [ARG...]\n");
        return 2;
    }
    const auto start = std::chrono::steady_clock::now();
    double cpu = 0;
    long peak = 0;
    int code = 0;
    for (long left = std::strtol(argv[3], nullptr, 10); left > 0 && code == 0; --left) code = run(argv[2], argv + 4, &cpu, &peak);
    const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - start;

    std::FILE* report = std::fopen(argv[1], "w");
    if (report == nullptr) {
        std::perror("bench_launch: report");
        return 126;
    }
    std::fprintf(report, "%d %.6f %.6f %ld\n", code, cpu, wall.count(), peak);
    return std::fclose(report) == 0 ? code : 126;
}
