// SPDX-License-Identifier: MIT
#include "socket_address.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <array>
#include <cstddef>
#include <cstring>

namespace tlsfs::cmd {

SocketAddress::SocketAddress(const void* bytes, socklen_t length) : size(length) {
    std::memcpy(&storage, bytes, length);
}

std::optional<std::string> parse_socket_path(const std::string& text) {
    constexpr std::string_view kPrefix = "unix:";
    if (text.starts_with('/')) return text;
    if (!text.starts_with(kPrefix) || text.size() == kPrefix.size()) return std::nullopt;
    return text.substr(kPrefix.size());
}

AddressList resolve(const HostPort& place, int family, int flags, std::string& why) {
    addrinfo hints{};
    hints.ai_flags = flags;
    hints.ai_family = family;
    hints.ai_socktype = SOCK_STREAM;
    const char* host = place.host.empty() ? nullptr : place.host.c_str();
    addrinfo* list = nullptr;
    const int error = getaddrinfo(host, place.port.c_str(), &hints, &list);
    if (error == 0) return {list, freeaddrinfo};
    why = gai_strerror(error);
    return {nullptr, freeaddrinfo};
}

std::optional<SocketAddress> path_address(const std::string& path) {
    sockaddr_un address{AF_UNIX, {}};
    if (path.size() >= sizeof(address.sun_path)) return std::nullopt;
    path.copy(static_cast<char*>(address.sun_path), path.size());
    return SocketAddress(&address, sizeof(address));
}

std::string address_text(const SocketAddress& address) {
    if (address.family() == AF_UNIX) return "a local socket";
    std::array<char, NI_MAXHOST> host{};
    std::array<char, NI_MAXSERV> port{};
    if (getnameinfo(address.get(), address.size, host.data(), host.size(), port.data(), port.size(),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return "?";
    }
    const std::string name = host.data();
    const bool bracketed = name.find(':') != std::string::npos;
    return (bracketed ? "[" + name + "]" : name) + ":" + port.data();
}

SocketAddress local_address(int socket_fd) {
    SocketAddress address;
    if (getsockname(socket_fd, address.get(), &address.size) != 0) return {};
    return address;
}

SocketAddress without_mapping(const SocketAddress& address) {
    if (address.family() != AF_INET6) return address;
    sockaddr_in6 wide{};
    std::memcpy(&wide, &address.storage, sizeof(wide));
    if (!IN6_IS_ADDR_V4MAPPED(&wide.sin6_addr)) return address;
    sockaddr_in plain{};
    plain.sin_family = AF_INET;
    plain.sin_port = wide.sin6_port;
    constexpr std::size_t kPrefix = sizeof(wide.sin6_addr) - sizeof(plain.sin_addr);
    std::memcpy(&plain.sin_addr, &wide.sin6_addr.s6_addr[kPrefix], sizeof(plain.sin_addr));
    return {&plain, sizeof(plain)};
}

}  // namespace tlsfs::cmd
