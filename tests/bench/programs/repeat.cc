// SPDX-License-Identifier: MIT
// Runs a program over and over, one after the other, each with the same file as its input:
//
//     repeat COUNT LEAST INPUT OUTPUT PROGRAM [ARG ...]
//
// Each must exit with 0 and leave at least LEAST bytes in OUTPUT. Prints one JSON object: the wall
// time of all, the CPU time of all with their children, the median time of one.

#include <fcntl.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "fail.h"
#include "measure.h"
#include "socket.h"

namespace {

using bench::fail;
using bench::UniqueFd;

void run_once(char** argv, int input, int output, off_t least) {
    if (ftruncate(output, 0) != 0 || lseek(output, 0, SEEK_SET) != 0 ||
        lseek(input, 0, SEEK_SET) != 0)
        fail("rewinding");
    posix_spawn_file_actions_t actions{};
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    pid_t child = 0;
    errno = posix_spawnp(&child, argv[0], &actions, nullptr, argv, environ);
    if (errno != 0) fail(argv[0]);
    posix_spawn_file_actions_destroy(&actions);
    int status = 0;
    if (waitpid(child, &status, 0) != child || status != 0)
        fail(std::string(argv[0]) + " ended with status " + std::to_string(status));
    struct stat info{};
    fstat(output, &info);
    if (info.st_size < least) fail(std::string(argv[0]) + " brought too little");
}

double children_cpu() {
    rusage usage{};
    getrusage(RUSAGE_CHILDREN, &usage);
    const auto seconds = [](const timeval& time) {
        return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
    };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 6) return 100;
    const off_t least = std::strtol(argv[2], nullptr, 10);
    const UniqueFd input(open(argv[3], O_RDONLY | O_CLOEXEC));
    const UniqueFd output(open(argv[4], O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!input.valid() || !output.valid()) fail("input, output");
    run_once(argv + 5, input.get(), output.get(), least);  // what is loaded for the first time
    std::vector<double> seconds(std::strtoul(argv[1], nullptr, 10));
    bench::wait_for_start();
    bench::Json json;
    const double began = bench::wall_seconds(), cpu = children_cpu();
    for (double& each : seconds) {
        const double start = bench::wall_seconds();
        run_once(argv + 5, input.get(), output.get(), least);
        each = bench::wall_seconds() - start;
    }
    json.add("seconds", bench::wall_seconds() - began).add("cpu", children_cpu() - cpu);
    bench::report_latencies(json, seconds);
    bench::finish(json.text());
}
