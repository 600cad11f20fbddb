// SPDX-License-Identifier: MIT
// Going into the background, the parent staying until the child is ready or has failed.
#pragma once

#include <optional>

#include "core/unique_fd.h"

namespace tlsfs {

class Daemon {
 public:
    Daemon() = default;  // stays in the foreground

    // Forks. In the parent, waits for the child's word; throws std::system_error if there is no
    // child.
    [[nodiscard]] static Daemon detach();

    // In the parent: what to exit with. Nothing in the child.
    [[nodiscard]] std::optional<int> parent_exit_code() const { return parent_exit_code_; }

    // In the child: lets the parent go, and lets go of the terminal.
    void ready();

 private:
    UniqueFd word_;
    std::optional<int> parent_exit_code_;
};

}  // namespace tlsfs
