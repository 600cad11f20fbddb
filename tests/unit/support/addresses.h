// SPDX-License-Identifier: MIT
// Socket addresses as text, and sockets filled, drained and polled.
#pragma once

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "core/unique_fd.h"

namespace tlsfs::test {

inline sockaddr_storage address(const std::string& ip, std::uint16_t port, std::uint32_t zone = 0) {
    sockaddr_storage storage{};
    auto& in = reinterpret_cast<sockaddr_in&>(storage);
    auto& in6 = reinterpret_cast<sockaddr_in6&>(storage);
    if (inet_pton(AF_INET, ip.c_str(), &in.sin_addr) == 1) {
        in.sin_family = AF_INET;
        in.sin_port = htons(port);
        return storage;
    }
    REQUIRE(inet_pton(AF_INET6, ip.c_str(), &in6.sin6_addr) == 1);
    in6.sin6_family = AF_INET6;
    in6.sin6_port = htons(port);
    in6.sin6_scope_id = zone;
    return storage;
}

using NameCall = int (*)(int, sockaddr*, socklen_t*);

inline std::string name_of(const UniqueFd& fd, NameCall call) {
    sockaddr_storage storage{};
    socklen_t size = sizeof storage;
    if (call(fd.get(), reinterpret_cast<sockaddr*>(&storage), &size) != 0) return "none";
    std::array<char, INET6_ADDRSTRLEN> text{};
    const auto& in = reinterpret_cast<const sockaddr_in&>(storage);
    const auto& in6 = reinterpret_cast<const sockaddr_in6&>(storage);
    const bool six = storage.ss_family == AF_INET6;
    const void* ip = six ? static_cast<const void*>(&in6.sin6_addr) : &in.sin_addr;
    inet_ntop(storage.ss_family, ip, text.data(), text.size());
    std::string name = text.data();
    if (six && in6.sin6_scope_id != 0) name += "%" + std::to_string(in6.sin6_scope_id);
    return name + " " + std::to_string(ntohs(six ? in6.sin6_port : in.sin_port));
}

inline short events_of(const UniqueFd& fd, short wanted = POLLIN | POLLRDHUP) {
    pollfd entry{fd.get(), wanted, 0};
    REQUIRE(poll(&entry, 1, 0) >= 0);
    return entry.revents;
}

inline void await(const UniqueFd& fd, short event) {
    pollfd entry{fd.get(), event, 0};
    REQUIRE(poll(&entry, 1, 20'000) == 1);
    REQUIRE((entry.revents & event) != 0);
}

// Writes until nothing more goes in.
inline std::size_t fill(const UniqueFd& fd) {
    const std::vector<char> piece(64 << 10, 'x');
    std::size_t all = 0;
    for (;;) {
        const ssize_t sent = send(fd.get(), piece.data(), piece.size(), MSG_DONTWAIT);
        if (sent < 0) return all;
        all += static_cast<std::size_t>(sent);
    }
}

// Reads until there is an end: how much there was, and errno or 0.
inline std::pair<std::size_t, int> drain(const UniqueFd& fd) {
    std::vector<char> piece(64 << 10);
    std::size_t all = 0;
    for (;;) {
        const ssize_t got = recv(fd.get(), piece.data(), piece.size(), MSG_DONTWAIT);
        if (got < 0 && errno != EAGAIN) return {all, errno};
        if (got == 0) return {all, 0};
        if (got > 0) all += static_cast<std::size_t>(got);
        if (got < 0) await(fd, POLLIN);
    }
}

}  // namespace tlsfs::test
