// SPDX-License-Identifier: MIT
// A guest of the companion's `attach` socket.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "attach_message.h"
#include "core/result.h"
#include "core/unique_fd.h"
#include "mount.h"

namespace tlsfs::internal {

using Deadline = std::optional<std::chrono::steady_clock::time_point>;

class AttachClient {
 public:
    // ECONNREFUSED, ENOENT, ENOTCONN and the like where the companion has ended.
    [[nodiscard]] static Result<AttachClient> connect(const Mount& mount);

    explicit AttachClient(UniqueFd socket_fd) : socket_fd_(std::move(socket_fd)) {}

    // To poll for POLLIN.
    [[nodiscard]] int fd() const { return socket_fd_.get(); }

    // EMSGSIZE if it is more than a message holds. EPIPE: the companion ended and has not read it.
    [[nodiscard]] Result<> send(const AttachRequest& request) const;

    // What has come, without waiting. An error is a refusal, or a socket of no more use.
    [[nodiscard]] Result<AttachReply> receive();

    // Waits until something has come. ETIMEDOUT.
    [[nodiscard]] Result<AttachReply> wait(Deadline deadline);

    // Sends and waits for the answer. ENOTCONN: the companion ended before it.
    [[nodiscard]] Result<AttachReply> ask(const AttachRequest& request, Deadline deadline);

    // Waits for the answer to what was sent.
    [[nodiscard]] Result<AttachReply> answer(Deadline deadline);

    // The status lines of the latest `state` message that was received, empty if there was none.
    [[nodiscard]] const std::string& latest_state() const { return latest_state_; }

 private:
    UniqueFd socket_fd_;
    std::string latest_state_;
};

// How long the companion may take for an answer that waits for no peer.
[[nodiscard]] Deadline soon();

}  // namespace tlsfs::internal
