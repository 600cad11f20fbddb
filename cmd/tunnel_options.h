// SPDX-License-Identifier: MIT
// The command line of tlstunnel(8).
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "credentials.h"
#include "listener.h"
#include "starttls.h"
#include "targets.h"

namespace tlsfs::cmd {

// Where to listen: an address, a path, or what a service manager has passed.
struct PassedSockets {};
struct SocketFile {
    std::string path;
};
using ListenPlace = std::variant<HostPort, SocketFile, PassedSockets>;

struct TunnelOptions {
    RoleOptions role;  // which says at which side TLS is
    std::vector<ListenPlace> listen;
    std::optional<mode_t> socket_mode;
    std::vector<Target> targets;
    Targets::Order order = Targets::Order::first;
    std::size_t max_connections = 1000;
    std::chrono::milliseconds handshake_timeout{0};
    std::chrono::milliseconds connect_timeout{10'000};
    std::chrono::milliseconds idle{0};  // 0: as long as it likes
    std::chrono::milliseconds grace{30'000};
    const StartTlsProtocol* starttls = nullptr;
    bool proxy_header = false;
    bool accept_proxy_header = false;
    bool verbose = false;

    [[nodiscard]] bool is_client() const { return std::holds_alternative<ClientOptions>(role); }
};

// Nothing when the command is over, with `exit_code`; all there is to say has been said.
[[nodiscard]] std::optional<TunnelOptions> parse_tunnel_options(int argc, const char* const* argv,
                                                                int& exit_code);

}  // namespace tlsfs::cmd
