// SPDX-License-Identifier: MIT
// The PROXY protocol, version 2: a header before a relayed stream that says whose it is.
//
//     12 bytes   signature
//      1 byte    version 2 (high half), command (low half): 0 LOCAL, 1 PROXY
//      1 byte    address family (high half), transport (low half)
//      2 bytes   size of all that follows
//     12, 36 or 216 bytes   source and destination, their ports: IPv4, IPv6, Unix
//     the rest   records of type (1), size (2) and value
//
// All numbers are big-endian.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "core/result.h"
#include "socket_address.h"

namespace tlsfs::cmd {

struct Endpoints {
    SocketAddress source;       // who connected
    SocketAddress destination;  // to where
};

// The header for a stream that came over TLS; `tags` are those of the connection's status.
[[nodiscard]] std::string proxy_header(const Endpoints& endpoints,
                                       const std::map<std::string, std::string>& tags);

inline constexpr std::size_t kProxyStart = 16;      // bytes up to the size
inline constexpr std::size_t kMaxProxyRest = 4096;  // what we take of the 65535 that could follow

// How much follows the first kProxyStart bytes. An error if these are no header that we take.
[[nodiscard]] Result<std::size_t> proxy_rest_size(std::string_view start);

// The addresses in a whole header; none if it speaks of the connection that it came on (LOCAL), or
// of addresses that we have no use for.
[[nodiscard]] Result<std::optional<Endpoints>> parse_proxy_header(std::string_view start,
                                                                  std::string_view rest);

// The common name in a subject as RFC 2253 writes it; the most specific one, and none that could be
// read in two ways.
[[nodiscard]] std::string common_name(std::string_view subject);

}  // namespace tlsfs::cmd
