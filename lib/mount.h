// SPDX-License-Identifier: MIT
// Where tlsfs is mounted: $TLSFS, $XDG_RUNTIME_DIR/tls, /run/tls.
#pragma once

#include <string>
#include <vector>

#include "core/result.h"
#include "core/unique_fd.h"

namespace tlsfs::internal {

struct Mount {
    std::string path;    // absolute
    UniqueFd directory;  // O_PATH: what is opened under it is of this mount and no later one
};

// The places to look at, the preferred one first. An explicit $TLSFS leaves no other.
[[nodiscard]] std::vector<std::string> mount_candidates();

// The live mount at `path`; else ENOENT (nothing there), ENOTCONN (its companion is dead) or
// whatever the system says.
[[nodiscard]] Result<Mount> open_mount(const std::string& path);

// The first live mount. Where there is none, starts one (unless TLSFS_AUTOSTART=0).
[[nodiscard]] Result<Mount> find_mount();

}  // namespace tlsfs::internal
