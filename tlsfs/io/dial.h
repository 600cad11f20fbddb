// SPDX-License-Identifier: MIT
// Connecting: every address of a name, IPv6 and IPv4 in turn (RFC 8305), or a Unix socket.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <vector>

#include "core/ctl.h"
#include "core/result.h"
#include "core/unique_fd.h"

namespace tlsfs {

// As whom the sockets are made and the path is opened, where that is not who we are.
struct Identity {
    uid_t uid = 0;
    gid_t gid = 0;
    std::vector<gid_t> groups;
};

// Breaks a dial off from another thread.
class Cancellation {
 public:
    Cancellation();
    void cancel();
    [[nodiscard]] int fd() const { return event_.get(); }

 private:
    UniqueFd event_;
};

// Blocks; for a background thread. Fails with the errno of the last address that was tried, with
// EHOSTUNREACH where the name has none, ETIMEDOUT past `deadline`, ECANCELED.
[[nodiscard]] Result<UniqueFd> dial(const command::Dial& target,
                                    const std::optional<Identity>& identity,
                                    std::chrono::steady_clock::time_point deadline,
                                    const Cancellation& cancellation);

}  // namespace tlsfs
