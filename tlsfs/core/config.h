// SPDX-License-Identifier: MIT
// The grammar of tlsfs.conf(5): text in, policy out.
//
// A line is a key and its words, separated by blanks, a word with blanks quoted 'like this', as in
// ctl. A # that begins a line or follows a blank begins a comment. A key stands at most once.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "core/log.h"
#include "core/policy.h"

namespace tlsfs {

inline constexpr std::size_t kMaxConfig = 64U << 10U;  // bytes

struct Config {
    Policy policy;
    std::chrono::seconds idle_exit{0};  // 0: never
    LogLevel log_level = LogLevel::warning;
    std::map<std::string, unsigned, std::less<>> lines;  // key: where it stands

    [[nodiscard]] bool sets(std::string_view key) const { return lines.find(key) != lines.end(); }
};

struct ConfigError {
    unsigned line = 0;
    std::string reason;  // one line
};

// Values that only others can judge are taken as they are: the ciphers, and what the trust store
// holds.
[[nodiscard]] tl::expected<Config, ConfigError> parse_config(std::string_view text);

}  // namespace tlsfs
