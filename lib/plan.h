// SPDX-License-Identifier: MIT
// What has to be said to ctl for a caller's options. Pure: options in, texts out.
#pragma once

#include <string>
#include <vector>

#include "core/result.h"
#include "tlsclient.hpp"

namespace tlsfs::internal {

struct PemFile {
    const char* name;  // ca, cert or key
    std::string source;
};

struct Plan {
    std::string policy;  // ctl lines that wait for nothing; those of defaults are left out
    std::vector<PemFile> files;
    std::string start;  // the line that begins the handshake
};

// EINVAL where options contradict each other, or hold what no ctl line can.
[[nodiscard]] Result<Plan> plan_client(const ClientOptions& options);
[[nodiscard]] Result<Plan> plan_server(const ServerOptions& options);

[[nodiscard]] Result<std::string> dial_line(const std::string& target);

}  // namespace tlsfs::internal
