// SPDX-License-Identifier: MIT
// Starting a private companion where none is mounted, as agents of this kind are started on demand.
#pragma once

#include <string>

#include "core/result.h"

namespace tlsfs::internal {

// Is a live tlsfs mounted there?
using IsMounted = bool (*)(const std::string& mount_point);

// Returns when a tlsfs is mounted at `mount_point`, an absolute path: this call started it, or
// another one that raced with it. A dead mount there is mended. The companion inherits no
// descriptor, and ends by itself once it has served nobody for a minute.
[[nodiscard]] Result<> start_companion(const std::string& mount_point, IsMounted is_mounted);

}  // namespace tlsfs::internal
