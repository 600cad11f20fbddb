// SPDX-License-Identifier: MIT
#include "proxy_reader.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>

namespace tlsfs::cmd {

Result<bool> ProxyReader::read(int socket_fd) {
    std::array<char, kProxyStart + kMaxProxyRest> buffer{};
    while (bytes_.size() < wanted_) {
        const std::size_t missing = wanted_ - bytes_.size();
        const ssize_t count = recv(socket_fd, buffer.data(), missing, MSG_DONTWAIT);
        if (count == 0) return failure(EPROTO, "PROXY header: the stream ended in it");
        if (count < 0 && errno == EINTR) continue;
        if (count < 0 && errno == EAGAIN) return false;
        if (count < 0) return system_failure("PROXY header");
        bytes_.append(buffer.data(), static_cast<std::size_t>(count));
        if (bytes_.size() != kProxyStart) continue;
        const auto rest = proxy_rest_size(bytes_);
        if (!rest) return tl::unexpected(rest.error());
        wanted_ = kProxyStart + *rest;
    }
    return true;
}

Result<std::optional<Endpoints>> ProxyReader::endpoints() const {
    const std::string_view bytes = bytes_;
    return parse_proxy_header(bytes.substr(0, kProxyStart), bytes.substr(kProxyStart));
}

}  // namespace tlsfs::cmd
