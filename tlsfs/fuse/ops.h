// SPDX-License-Identifier: MIT
// FUSE's operations: decode, call, reply; nothing else. Their user data is the Server.
#pragma once

#include "fuse/lowlevel.h"

namespace tlsfs {

[[nodiscard]] const fuse_lowlevel_ops& operations();

}  // namespace tlsfs
