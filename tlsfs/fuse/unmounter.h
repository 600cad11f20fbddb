// SPDX-License-Identifier: MIT
// Unmounting after a death that nobody could handle. libfuse's auto_unmount does that too, but not
// for a private mount: its helper is root, and root may not look into one.
#pragma once

#include <string>

#include "core/result.h"
#include "core/unique_fd.h"

namespace tlsfs {

// Removes a mount whose companion is gone (it answers ENOTCONN). Does nothing to any other.
void clear_dead_mount(const std::string& mount_point);

// Forks a process that does so when this one has died. To be called before there are threads. The
// descriptor is the tie between them: closing it, as any death does, sets the other to work.
[[nodiscard]] Result<UniqueFd> unmount_after_death(const std::string& mount_point);

}  // namespace tlsfs
