// SPDX-License-Identifier: MIT
// Listening sockets, of one's own or a service manager's, and one child for each connection.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/unique_fd.h"

namespace tlsfs::cmd {

struct ListenAddress {
    std::string host;  // empty: all addresses, IPv6 and IPv4
    std::string port;  // a number or a service; 0 takes a free one
};

// [ADDR]:PORT, where an IPv6 ADDR stands in brackets.
[[nodiscard]] std::optional<ListenAddress> parse_listen_address(const std::string& text);

using Listeners = std::vector<UniqueFd>;

// A listening socket. Says where it listens. On failure says why and holds nothing.
[[nodiscard]] Listeners listen_on(const ListenAddress& address);

// The listening sockets that a service manager has passed (sd_listen_fds(3)), which children do not
// inherit any more. On failure says why and holds nothing.
[[nodiscard]] Listeners passed_listeners();

// Runs in the child, which exits with the result: the connection's socket and the peer's address.
using ServeConnection = std::function<int(UniqueFd socket_fd, const std::string& peer)>;

// Accepts until SIGTERM or SIGINT, with at most `max_children` children at a time; further peers
// wait in the kernel's queue. Children outlive the end. Returns the exit code.
[[nodiscard]] int accept_connections(Listeners listeners, std::size_t max_children,
                                     const ServeConnection& serve);

}  // namespace tlsfs::cmd
