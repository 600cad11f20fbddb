// SPDX-License-Identifier: MIT
// tlsfs.conf(5) and the options of the command line together: what the companion runs with.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <tl/expected.hpp>

#include "core/config.h"

namespace tlsfs {

// What was said on the command line.
struct Overrides {
    std::string config_file;  // empty: the usual one, which need not be there
    std::string ca_file;
    std::string key_socket;
    std::optional<std::size_t> max_connections, max_per_user;
    std::optional<unsigned> idle_exit;  // seconds
    std::optional<LogLevel> log_level;
    bool system = false;  // the mount is everybody's: nobody else may write to the file
};

struct Configuration {
    Policy policy;
    std::chrono::seconds idle_exit{0};  // 0: never
    LogLevel log_level = LogLevel::warning;
};

struct Refusal {
    int exit_code = 0;
    std::string text;  // one line; FILE:LINE: before the reason where there is a line
};

// Reads, judges, and joins them. What the file says, the command line cannot weaken.
[[nodiscard]] tl::expected<Configuration, Refusal> load_configuration(const Overrides& said);

}  // namespace tlsfs
