// SPDX-License-Identifier: MIT
// Where the companion is: $TLSFS, $XDG_RUNTIME_DIR/tls, /run/tls. TLSFS may name a mount point, or
// the socket of a companion without a mount.
#pragma once

#include <string>
#include <vector>

#include "core/result.h"
#include "core/unique_fd.h"

namespace tlsfs::internal {

struct Mount {
    std::string path;        // absolute
    UniqueFd place;          // O_PATH: what is opened under it is of this mount and no later one
    bool is_socket = false;  // `place` is the attach socket itself, and there are no files

    // A short path that leads to the attach socket.
    [[nodiscard]] std::string attach_path() const;
};

// The places to look at, the preferred one first. An explicit $TLSFS leaves no other.
[[nodiscard]] std::vector<std::string> mount_candidates();

// The live mount or the socket at `path`; else ENOENT (nothing there), ENOTCONN (its companion is
// dead) or what the system says. Whether somebody listens on a socket is seen by connecting.
[[nodiscard]] Result<Mount> open_mount(const std::string& path);

// The first live mount. Where there is none, starts one (unless TLSFS_AUTOSTART=0).
[[nodiscard]] Result<Mount> find_mount();

}  // namespace tlsfs::internal
