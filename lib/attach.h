// SPDX-License-Identifier: MIT
// The way for descriptors that the companion may not take by itself.
#pragma once

#include "core/result.h"

namespace tlsfs::internal {

// Hands the carrier of connection `number` to the mount's `attach` socket. `read` and `write` may
// be one and the same. The caller keeps its descriptors.
[[nodiscard]] Result<> attach(int mount_directory, unsigned number, int read, int write);

}  // namespace tlsfs::internal
