// SPDX-License-Identifier: MIT
// One child for each connection.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

#include "listener.h"

namespace tlsfs::cmd {

// Runs in the child, which exits with the result: the connection's socket and the peer's address.
using ServeConnection = std::function<int(UniqueFd socket_fd, const std::string& peer)>;

// Accepts until SIGTERM or SIGINT, with at most `max_children` children at a time; further peers
// wait in the kernel's queue. Children outlive the end. Returns the exit code.
[[nodiscard]] int accept_connections(Listeners listeners, std::size_t max_children,
                                     const ServeConnection& serve);

}  // namespace tlsfs::cmd
