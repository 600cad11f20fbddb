// SPDX-License-Identifier: MIT
#include "proxy_reader.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <string>

namespace tlsfs::cmd {
namespace {

Result<std::string> read_exactly(int socket_fd, std::size_t size, const Event& call_off,
                                 Deadline deadline) {
    std::string bytes(size, '\0');
    for (std::size_t done = 0; done < size;) {
        const Waited waited = wait_for(socket_fd, POLLIN, call_off, deadline);
        if (waited != Waited::ready) {
            errno = errno_of(waited);
            return system_failure("PROXY header");
        }
        const ssize_t count = recv(socket_fd, &bytes[done], size - done, MSG_DONTWAIT);
        if (count == 0) return failure(EPROTO, "PROXY header: the stream ended in it");
        if (count < 0 && (errno == EAGAIN || errno == EINTR)) continue;
        if (count < 0) return system_failure("PROXY header");
        done += static_cast<std::size_t>(count);
    }
    return bytes;
}

}  // namespace

Result<std::optional<Endpoints>> read_proxy_header(int socket_fd, const Event& call_off,
                                                   Deadline deadline) {
    const auto start = read_exactly(socket_fd, kProxyStart, call_off, deadline);
    if (!start) return tl::unexpected(start.error());
    const auto size = proxy_rest_size(*start);
    if (!size) return tl::unexpected(size.error());
    const auto rest = read_exactly(socket_fd, *size, call_off, deadline);
    if (!rest) return tl::unexpected(rest.error());
    return parse_proxy_header(*start, *rest);
}

}  // namespace tlsfs::cmd
