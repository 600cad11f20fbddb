// SPDX-License-Identifier: MIT
// Takes the header of the PROXY protocol off a connection, and not a byte of what follows it.
#pragma once

#include <optional>

#include "core/result.h"
#include "proxy_header.h"
#include "waiting.h"

namespace tlsfs::cmd {

// The addresses that the header at the beginning of the stream tells; see parse_proxy_header().
[[nodiscard]] Result<std::optional<Endpoints>> read_proxy_header(int socket_fd,
                                                                 const Event& call_off,
                                                                 Deadline deadline);

}  // namespace tlsfs::cmd
