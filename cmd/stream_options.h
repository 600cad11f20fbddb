// SPDX-License-Identifier: MIT
// Options of stream sockets. Unix sockets know none of them, and need none.
#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace tlsfs::cmd {

// Small pieces go on at once, as they came; a peer that has vanished is noticed some day.
inline void set_up_stream(int socket_fd) {
    constexpr int kOn = 1;
    setsockopt(socket_fd, IPPROTO_TCP, TCP_NODELAY, &kOn, sizeof(kOn));
    setsockopt(socket_fd, SOL_SOCKET, SO_KEEPALIVE, &kOn, sizeof(kOn));
}

// The close of the last duplicate sends RST.
inline void reset_at_close(int socket_fd) {
    constexpr linger kAtOnce{1, 0};
    setsockopt(socket_fd, SOL_SOCKET, SO_LINGER, &kAtOnce, sizeof(kAtOnce));
}

}  // namespace tlsfs::cmd
