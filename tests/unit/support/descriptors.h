// SPDX-License-Identifier: MIT
// Pairs of descriptors for the tests.
#pragma once

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <string>
#include <system_error>

#include "core/unique_fd.h"
#include "io/byte_stream.h"

namespace tlsfs::test {

struct Ends {
    UniqueFd a, b;
};

inline UniqueFd checked(int fd) {
    if (fd < 0) throw std::system_error(errno, std::generic_category());
    return UniqueFd(fd);
}

inline Ends socket_pair(int type = SOCK_STREAM) {
    std::array<int, 2> fds{};
    if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds.data()) != 0) {
        throw std::system_error(errno, std::generic_category());
    }
    return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

// a reads what is written to b.
inline Ends pipe_pair() {
    std::array<int, 2> fds{};
    if (pipe2(fds.data(), O_CLOEXEC) != 0) throw std::system_error(errno, std::generic_category());
    return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

inline std::uint16_t port_of(int fd) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
    return ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(address).sin6_port
                                               : reinterpret_cast<sockaddr_in&>(address).sin_port);
}

inline UniqueFd listen_on_loopback(int family = AF_INET, int backlog = 8) {
    UniqueFd fd = checked(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sockaddr_in6 in6{};
    in6.sin6_family = AF_INET6;
    in6.sin6_addr = in6addr_loopback;
    const bool six = family == AF_INET6;
    const auto* address =
        six ? reinterpret_cast<sockaddr*>(&in6) : reinterpret_cast<sockaddr*>(&in);
    const socklen_t size = six ? sizeof in6 : sizeof in;
    if (bind(fd.get(), address, size) != 0 || listen(fd.get(), backlog) != 0) {
        throw std::system_error(errno, std::generic_category());
    }
    return fd;
}

inline Ends tcp_pair() {
    const UniqueFd listener = listen_on_loopback();
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(port_of(listener.get()));
    UniqueFd a = checked(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (connect(a.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) {
        throw std::system_error(errno, std::generic_category());
    }
    UniqueFd b = checked(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    return {std::move(a), std::move(b)};
}

inline UniqueFd duplicate(const UniqueFd& fd) {
    return checked(fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
}

inline constexpr dev_t kNoMount = static_cast<dev_t>(-1);

inline Result<ByteStream> adopt(UniqueFd read, UniqueFd write = {}) {
    return ByteStream::adopt(read, write, kNoMount);
}

inline std::span<const std::byte> bytes(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

inline std::string text(std::span<const std::byte> data) {
    return {reinterpret_cast<const char*>(data.data()), data.size()};
}

}  // namespace tlsfs::test
