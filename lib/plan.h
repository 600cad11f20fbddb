// SPDX-License-Identifier: MIT
// What has to be said to a ctl for a caller's options. Pure: options in, texts out.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "core/result.h"
#include "tlsclient.hpp"

namespace tlsfs::internal {

struct PemSource {
    const char* verb;  // ca, cert or key
    std::string path;
};

struct Plan {
    std::string policy;  // ctl lines that wait for nothing; those of defaults are left out
    std::vector<PemSource> files;
    std::string start;  // the line that begins the handshake
    std::chrono::milliseconds timeout{0};
    bool kernel_only = false;
};

// EINVAL where options contradict each other, or hold what no ctl line can. If no name is given it
// is the dialled host.
[[nodiscard]] Result<Plan> plan_client(const ClientOptions& options, const Transport& transport);
[[nodiscard]] Result<Plan> plan_server(const ServerOptions& options);

// The ctl line that leaves so much time for the handshake.
[[nodiscard]] std::string timeout_line(std::chrono::milliseconds left);

}  // namespace tlsfs::internal
