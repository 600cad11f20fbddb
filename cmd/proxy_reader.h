// SPDX-License-Identifier: MIT
// Takes the header of the PROXY protocol off a connection, and not a byte of what follows it.
#pragma once

#include <optional>
#include <string>

#include "core/result.h"
#include "proxy_header.h"

namespace tlsfs::cmd {

class ProxyReader {
 public:
    // Takes what has come, without waiting. True when the header is complete.
    [[nodiscard]] Result<bool> read(int socket_fd);

    // The addresses that it tells; see parse_proxy_header().
    [[nodiscard]] Result<std::optional<Endpoints>> endpoints() const;

 private:
    std::string bytes_;
    std::size_t wanted_ = kProxyStart;
};

}  // namespace tlsfs::cmd
