// SPDX-License-Identifier: MIT
// What makes a process with private keys in it hard to look into, and poor in what it can do.
#pragma once

#include "core/result.h"

namespace tlsfs::keys {

// No core files, no debugger of the same user, nothing of its memory on a disk. A failure: the
// memory may be swapped, because RLIMIT_MEMLOCK is too small.
[[nodiscard]] Result<> protect_memory();

// From now on only the system calls of a list: no exec, no other process, no socket but a Unix one.
// To be called before there are threads. EOPNOTSUPP: not on this machine.
[[nodiscard]] Result<> restrict_system_calls();

}  // namespace tlsfs::keys
