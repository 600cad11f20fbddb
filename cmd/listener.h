// SPDX-License-Identifier: MIT
// Listening sockets, of one's own or a service manager's.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/unique_fd.h"
#include "socket_address.h"

namespace tlsfs::cmd {

using Listeners = std::vector<UniqueFd>;

// A listening socket. Says where it listens. On failure says why and holds nothing.
[[nodiscard]] Listeners listen_on(const HostPort& address);

// The listening sockets that a service manager has passed (sd_listen_fds(3)), which children do not
// inherit any more. On failure says why and holds nothing.
[[nodiscard]] Listeners passed_listeners();

// The name that a listening Unix socket has in the file system; removed at the end of its life, if
// it is still that socket's.
class SocketPath {
 public:
    SocketPath() = default;
    explicit SocketPath(std::string path);
    SocketPath(SocketPath&& other) noexcept
        : path_(std::exchange(other.path_, {})), device_(other.device_), inode_(other.inode_) {}
    SocketPath& operator=(SocketPath&& other) noexcept {
        std::swap(path_, other.path_);
        std::swap(device_, other.device_);
        std::swap(inode_, other.inode_);
        return *this;
    }
    SocketPath(const SocketPath&) = delete;
    SocketPath& operator=(const SocketPath&) = delete;
    ~SocketPath();

 private:
    std::string path_;
    dev_t device_ = 0;
    ino_t inode_ = 0;
};

struct UnixListener {
    UniqueFd socket_fd;
    SocketPath name;
};

// A listening Unix socket. One that a dead process has left at `path` is replaced, one that is
// listened on is not. With `mode` it has that mode from the beginning, else the umask's. On failure
// says why.
[[nodiscard]] std::optional<UnixListener> listen_on_path(const std::string& path,
                                                         std::optional<mode_t> mode);

}  // namespace tlsfs::cmd
