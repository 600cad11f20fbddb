// SPDX-License-Identifier: MIT
#include "daemon.h"

#include <fcntl.h>
#include <sys/wait.h>

#include <array>
#include <cerrno>
#include <system_error>

namespace tlsfs {

Daemon Daemon::detach() {
    std::array<int, 2> ends{};
    if (pipe2(ends.data(), O_CLOEXEC) != 0) {
        throw std::system_error(errno, std::generic_category(), "pipe2");
    }
    UniqueFd listen(ends[0]), speak(ends[1]);
    const pid_t child = fork();
    if (child < 0) throw std::system_error(errno, std::generic_category(), "fork");
    Daemon daemon;
    if (child == 0) {
        setsid();
        daemon.word_ = std::move(speak);
        return daemon;
    }
    speak.reset();
    char word = 0;
    ssize_t got = 0;
    while ((got = read(listen.get(), &word, 1)) < 0 && errno == EINTR) continue;
    int status = 0;
    daemon.parent_exit_code_ = 0;
    if (got != 1) {
        waitpid(child, &status, 0);
        daemon.parent_exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 111;
    }
    return daemon;
}

void Daemon::ready() {
    if (!word_.valid()) return;
    if (chdir("/") != 0) return;  // keep no file system busy
    const UniqueFd nothing(open("/dev/null", O_RDWR | O_CLOEXEC));
    for (const int standard : {0, 1, 2}) {
        if (nothing.valid()) dup2(nothing.get(), standard);
    }
    const char word = 1;
    [[maybe_unused]] const ssize_t told = write(word_.get(), &word, 1);
    word_.reset();
}

}  // namespace tlsfs
