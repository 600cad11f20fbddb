// SPDX-License-Identifier: MIT
// The name `attach` in the tree: the socket of the front for messages (attach/) is bound to it.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <string>

#include "core/result.h"

namespace tlsfs {

class AttachNode {
 public:
    // Binds in the mounted tree itself, which must be served already.
    [[nodiscard]] Result<> bind(int socket, const std::string& mount_point);
    void listening() { listening_ = true; }

    // True for the thread that binds the socket: then, and only then, the node may be made.
    [[nodiscard]] bool binding(pid_t thread);
    [[nodiscard]] bool is_bound() const { return bound_; }
    [[nodiscard]] bool is_listening() const { return listening_; }

 private:
    std::atomic<pid_t> binder_ = 0;
    std::atomic<bool> bound_ = false;
    std::atomic<bool> listening_ = false;
};

}  // namespace tlsfs
