// SPDX-License-Identifier: MIT
#include "children.h"

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <utility>

#include "acceptor.h"
#include "report.h"
#include "signals.h"

namespace tlsfs::cmd {
namespace {

class AcceptLoop {
 public:
    AcceptLoop(Listeners listeners, std::size_t max_children, const ServeConnection& serve)
        : acceptor_(std::move(listeners)), max_children_(max_children), serve_(serve) {
        // An inherited SIG_IGN would reap the children behind our back.
        std::signal(SIGCHLD, SIG_DFL);
    }

    int run() {
        if (signals_.fd() < 0) return complain_of_system("signalfd");
        const std::array others{signals_.fd()};
        for (;;) {
            if (!acceptor_.wait(others, is_full(), std::nullopt)) return complain_of_system("poll");
            if (is_told_to_end()) return 0;
            reap();
            while (!is_full()) {
                auto accepted = acceptor_.next();
                if (!accepted) break;
                start_child(std::move(*accepted));
            }
        }
    }

 private:
    [[nodiscard]] bool is_full() const { return children_ >= max_children_; }

    [[nodiscard]] bool is_told_to_end() const {
        bool end = false;
        while (const auto signal = signals_.take()) end = end || *signal != SIGCHLD;
        return end;
    }

    void reap() {
        while (waitpid(-1, nullptr, WNOHANG) > 0) --children_;
    }

    void start_child(Accepted accepted) {
        const pid_t child = fork();
        if (child < 0) {
            complain_of_system("fork");
            acceptor_.rest();
            return;
        }
        if (child > 0) {
            ++children_;
            return;
        }
        acceptor_.close();  // the handshake may outlive the parent, and its port must be free then
        signals_.restore();
        _exit(serve_(std::move(accepted.socket_fd), address_text(accepted.peer)));
    }

    Signals signals_{SIGCHLD, SIGTERM, SIGINT};
    Acceptor acceptor_;
    std::size_t max_children_;
    const ServeConnection& serve_;
    std::size_t children_ = 0;
};

}  // namespace

int accept_connections(Listeners listeners, std::size_t max_children,
                       const ServeConnection& serve) {
    return AcceptLoop(std::move(listeners), max_children, serve).run();
}

}  // namespace tlsfs::cmd
