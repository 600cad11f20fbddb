// SPDX-License-Identifier: MIT
// Signals as something to poll, in place of interruptions.
#pragma once

#include <sys/signalfd.h>

#include <csignal>
#include <initializer_list>
#include <optional>

#include "core/unique_fd.h"

namespace tlsfs::cmd {

// Blocks the signals named, for this thread and those that it starts from now on.
class Signals {
 public:
    Signals(std::initializer_list<int> wanted) {
        sigset_t set{};
        sigemptyset(&set);
        for (const int number : wanted) sigaddset(&set, number);
        sigprocmask(SIG_BLOCK, &set, &before_);
        fd_ = UniqueFd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    }

    [[nodiscard]] int fd() const { return fd_.get(); }

    // The next one that has come.
    [[nodiscard]] std::optional<int> take() const {
        signalfd_siginfo signal{};
        if (read(fd_.get(), &signal, sizeof(signal)) != sizeof(signal)) return std::nullopt;
        return static_cast<int>(signal.ssi_signo);
    }

    // For a child: signals as the parent found them.
    void restore() const { sigprocmask(SIG_SETMASK, &before_, nullptr); }

 private:
    sigset_t before_{};
    UniqueFd fd_;
};

}  // namespace tlsfs::cmd
