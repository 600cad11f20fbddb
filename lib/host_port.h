// SPDX-License-Identifier: MIT
// HOST:PORT, as it is written everywhere here.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace tlsfs::internal {

struct HostPort {
    std::string host;  // without brackets; may be empty
    std::string port;  // a number or a service, not looked at
};

// [HOST]:PORT, where an IPv6 HOST stands in brackets. PORT is not empty.
[[nodiscard]] std::optional<HostPort> parse_host_port(std::string_view text);

// Is it a number from 1 to 65535, or a service's name (RFC 6335 section 5.1)? getaddrinfo(3) takes
// more, and reads 65579 as 43.
[[nodiscard]] bool is_port(std::string_view text);

// Is it a host name by its letters: labels of letters, digits and hyphens, separated by dots?
[[nodiscard]] bool is_host_name(std::string_view text);

}  // namespace tlsfs::internal
