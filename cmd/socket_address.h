// SPDX-License-Identifier: MIT
// Addresses of sockets, as the kernel gives them and as people read them.
#pragma once

#include <netdb.h>
#include <sys/socket.h>

#include <memory>
#include <optional>
#include <string>

#include "host_port.h"

namespace tlsfs::cmd {

struct SocketAddress {
    sockaddr_storage storage{};
    socklen_t size = sizeof(sockaddr_storage);

    SocketAddress() = default;
    SocketAddress(const void* bytes, socklen_t length);

    [[nodiscard]] sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
    [[nodiscard]] const sockaddr* get() const {
        return reinterpret_cast<const sockaddr*>(&storage);
    }
    [[nodiscard]] sa_family_t family() const { return storage.ss_family; }
};

// An empty host: all addresses to listen on, the loopback to connect to. Port 0 listens on a free
// one.
using internal::HostPort;
using internal::parse_host_port;

// The path in /PATH or unix:PATH.
[[nodiscard]] std::optional<std::string> parse_socket_path(const std::string& text);

using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

// The addresses for stream sockets, with `flags` as getaddrinfo(3) has them. Nothing for a name or
// port that is not known; `why` says it.
[[nodiscard]] AddressList resolve(const HostPort& place, int family, int flags, std::string& why);

// Of a Unix socket. Nothing where the path is too long for one.
[[nodiscard]] std::optional<SocketAddress> path_address(const std::string& path);

// 192.0.2.1:443, [2001:db8::1]:443, or "a local socket".
[[nodiscard]] std::string address_text(const SocketAddress& address);

// Where a socket is bound. One that is none has the family AF_UNSPEC.
[[nodiscard]] SocketAddress local_address(int socket_fd);

// An IPv4 address that a dual-stack listener shows as ::ffff:192.0.2.1, as IPv4; others as they
// are.
[[nodiscard]] SocketAddress without_mapping(const SocketAddress& address);

}  // namespace tlsfs::cmd
