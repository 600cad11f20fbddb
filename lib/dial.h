// SPDX-License-Identifier: MIT
// Connecting, in the caller's own process: every address of a name, IPv6 and IPv4 in turn
// (RFC 8305), or a Unix socket.
#pragma once

#include <chrono>
#include <string>

#include "core/result.h"
#include "core/unique_fd.h"
#include "host_port.h"

namespace tlsfs::internal {

struct DialTarget {
    HostPort address;
    std::string path;  // of a Unix socket, in place of the address
};

// HOST:PORT or /path; else EINVAL.
[[nodiscard]] Result<DialTarget> parse_dial_target(const std::string& text);

// A connected, blocking socket, close-on-exec. Fails with the errno of the last address that was
// tried, with EHOSTUNREACH where the name has none, ETIMEDOUT past `deadline`.
[[nodiscard]] Result<UniqueFd> dial(const DialTarget& target,
                                    std::chrono::steady_clock::time_point deadline);

}  // namespace tlsfs::internal
