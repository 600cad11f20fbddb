// SPDX-License-Identifier: MIT
// Waiting for connections on several listening sockets, and for other things beside them.
#pragma once

#include <chrono>
#include <optional>
#include <span>
#include <vector>

#include "core/unique_fd.h"
#include "listener.h"
#include "socket_address.h"

namespace tlsfs::cmd {

struct Accepted {
    UniqueFd socket_fd;
    SocketAddress peer;  // never an IPv4 address in IPv6's clothes
};

class Acceptor {
 public:
    explicit Acceptor(Listeners listeners) : listeners_(std::move(listeners)) {}

    // Waits until a peer has come or one of `others` can be read; at most `limit`, where there is
    // one. With `full` peers are left in the kernel's queue. False, with errno, if that is not
    // possible.
    [[nodiscard]] bool wait(std::span<const int> others, bool full,
                            std::optional<std::chrono::milliseconds> limit);

    // After wait(): one connection from each socket that has some.
    [[nodiscard]] std::optional<Accepted> next();

    // The system is short of something: nothing is accepted during the next wait, which is short.
    void rest() { resting_ = true; }

    // Stops listening.
    void close() { listeners_.clear(); }

 private:
    void accept_failed();

    Listeners listeners_;
    std::vector<int> ready_;
    std::size_t turn_ = 0;
    bool resting_ = false;
};

}  // namespace tlsfs::cmd
