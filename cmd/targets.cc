// SPDX-License-Identifier: MIT
#include "targets.h"

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>

#include "report.h"
#include "socket_address.h"

namespace tlsfs::cmd {
namespace {

using std::chrono::milliseconds;

// The outcome of a connect(2) that goes on in the background.
int wait_until_connected(int socket_fd, const Event& call_off, milliseconds limit) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    const Waited waited = wait_for(socket_fd, POLLOUT, call_off, deadline);
    if (waited != Waited::ready) return errno_of(waited);
    int error = 0;
    socklen_t size = sizeof(error);
    if (getsockopt(socket_fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) return errno;
    return error;
}

// A Unix socket whose queue is full answers EAGAIN, and poll(2) would say nothing of use: such a
// connect(2) has to block, but for its own time only.
void bound_blocking_connect(int socket_fd, milliseconds limit) {
    const timeval time{limit.count() / 1000, limit.count() % 1000 * 1000};
    setsockopt(socket_fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof(time));
}

Result<UniqueFd> connect_to(const SocketAddress& address, const Event& call_off,
                            milliseconds limit) {
    const bool local = address.family() == AF_UNIX;
    const int flags = SOCK_STREAM | SOCK_CLOEXEC | (local ? 0 : SOCK_NONBLOCK);
    UniqueFd socket_fd(socket(address.family(), flags, 0));
    if (!socket_fd.valid()) return system_failure("socket");
    if (local) bound_blocking_connect(socket_fd.get(), limit);
    if (connect(socket_fd.get(), address.get(), address.size) == 0) return socket_fd;
    int error = errno == EAGAIN ? ETIMEDOUT : errno;
    if (error == EINPROGRESS) error = wait_until_connected(socket_fd.get(), call_off, limit);
    if (error != 0) return failure(error, std::strerror(error));
    return socket_fd;
}

Result<UniqueFd> connect_to_host(const HostPort& place, const Event& call_off, milliseconds limit) {
    std::string why;
    const auto addresses = resolve(place, AF_UNSPEC, 0, why);
    Result<UniqueFd> result = failure(EHOSTUNREACH, why);
    for (const addrinfo* each = addresses.get(); each != nullptr; each = each->ai_next) {
        result = connect_to(SocketAddress(each->ai_addr, each->ai_addrlen), call_off, limit);
        if (result || result.error().code == ECANCELED) break;
    }
    return result;
}

Result<UniqueFd> connect_to_target(const Target& target, const Event& call_off,
                                   milliseconds limit) {
    if (target.path.empty()) return connect_to_host(target.address, call_off, limit);
    const auto address = path_address(target.path);
    if (!address) return failure(ENAMETOOLONG, std::strerror(ENAMETOOLONG));
    return connect_to(*address, call_off, limit);
}

}  // namespace

std::optional<Target> parse_target(const std::string& text) {
    if (const auto path = parse_socket_path(text)) return Target{text, {}, *path};
    if (const auto address = parse_host_port(text)) return Target{text, *address, {}};
    return std::nullopt;
}

Result<Connected> Targets::connect(const Event& call_off) {
    const std::size_t start = order_ == Order::round_robin ? turn_++ : 0;
    for (std::size_t tried = 0;; ++tried) {
        const Target& target = targets_[(start + tried) % targets_.size()];
        auto socket_fd = connect_to_target(target, call_off, limit_);
        if (socket_fd) return Connected{std::move(*socket_fd), &target};
        const std::string cause = target.text + ": " + socket_fd.error().text;
        const bool last = tried + 1 == targets_.size() || socket_fd.error().code == ECANCELED;
        if (last) return failure(socket_fd.error().code, cause);
        say(cause + "; trying the next");
    }
}

}  // namespace tlsfs::cmd
