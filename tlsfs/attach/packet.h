// SPDX-License-Identifier: MIT
// One message of a SOCK_SEQPACKET socket: text, descriptors, and who sent it.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "connection/request.h"
#include "core/result.h"
#include "core/unique_fd.h"

namespace tlsfs {

struct Packet {
    std::string text;
    std::vector<UniqueFd> fds;     // of unknown kind: closing one may take for ever
    std::optional<Caller> sender;  // nobody: the end of the stream
};

// Never waits. What came stays in `packet`, whatever else was wrong: EINVAL where it was cut.
[[nodiscard]] Result<> receive_packet(int fd, Packet& packet);

// Never waits: EAGAIN where the receiver does not read. `attached` (-1: nothing) stays ours.
[[nodiscard]] Result<> send_packet(int fd, std::string_view text, int attached = -1);

// `ERRNONAME reason`
[[nodiscard]] std::string failure_text(const Error& error);

}  // namespace tlsfs
