// SPDX-License-Identifier: MIT
// Who has connected to a Unix socket of ours: unix(7), SO_PEERCRED.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <optional>

namespace tlsfs {

inline std::optional<uid_t> peer_user(int fd) {
    ucred peer{};
    socklen_t size = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return std::nullopt;
    return peer.uid;
}

}  // namespace tlsfs
