// SPDX-License-Identifier: MIT
#include "core/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <span>

#include "core/ctl.h"
#include "core/key_lines.h"
#include "core/number.h"
#include "core/status.h"

namespace tlsfs {
namespace {

using Words = std::span<const std::string>;

std::optional<std::size_t> number(const std::string& word, std::size_t min, std::size_t max) {
    std::size_t value = 0;
    const char* end = word.data() + word.size();
    const auto [stop, error] = std::from_chars(word.data(), end, value);
    if (error != std::errc{} || stop != end || value < min || value > max) return std::nullopt;
    return value;
}

Problem take_number(const std::string& word, std::size_t min, std::size_t max, std::size_t& into) {
    const auto value = number(word, min, max);
    if (!value) return fmt::format("'{}' is not a number from {} to {}", word, min, max);
    into = *value;
    return {};
}

Problem set_minimum_version(Words words, Config& config) {
    return take_version(words.front(), config.policy.min_version);
}

Problem set_ciphers(Words words, Config& config) {
    if (words.front().empty()) return "the list is empty";
    config.policy.ciphers = words.front();
    return {};
}

Problem set_client_verify(Words words, Config& config) {
    using Mode = VerifyPolicy::Mode;
    static const std::map<std::string_view, Mode> modes{
        {"system", Mode::system}, {"ca", Mode::ca}, {"pin", Mode::pin}, {"none", Mode::none}};
    config.policy.client_verify.clear();
    for (const std::string& word : words) {
        const auto mode = modes.find(word);
        if (mode == modes.end()) {
            return fmt::format("'{}' is none of system, ca, pin, none", word);
        }
        config.policy.client_verify.insert(mode->second);
    }
    return {};
}

Problem set_keys(Words words, Config& config) {
    const std::string& word = words.front();
    if (word != "any" && word != "identities-only") {
        return fmt::format("'{}' is neither any nor identities-only", word);
    }
    config.policy.identities_only = word == "identities-only";
    return {};
}

Problem set_keys_socket(Words words, Config& config) {
    return take_path(words.front(), config.policy.key_socket);
}

Problem set_trust_file(Words words, Config& config) {
    return take_path(words.front(), config.policy.trust.file);
}

Problem set_trust_directory(Words words, Config& config) {
    return take_path(words.front(), config.policy.trust.directory);
}

Problem set_crl(Words words, Config& config) {
    return take_path(words.front(), config.policy.trust.crl);
}

Problem set_dial(Words words, Config& config) {
    const std::string& word = words.front();
    if (word != "on" && word != "off") return fmt::format("'{}' is neither on nor off", word);
    config.policy.dial = word == "on";
    return {};
}

Problem set_max_timeout(Words words, Config& config) {
    std::size_t seconds = 0;
    const auto most = static_cast<std::size_t>(
        std::chrono::duration_cast<std::chrono::seconds>(kMaxTimeout).count());
    if (auto problem = take_number(words.front(), 1, most, seconds)) return problem;
    config.policy.max_timeout = std::chrono::seconds{seconds};
    return {};
}

// What fits into 31 bits is more connections than there are numbers for.
constexpr std::size_t kMost = 0x7fffffff;

Problem set_max_connections(Words words, Config& config) {
    return take_number(words.front(), 1, kMost, config.policy.limits.connections);
}

Problem set_max_per_user(Words words, Config& config) {
    return take_number(words.front(), 1, kMost, config.policy.limits.per_user);
}

Problem set_idle_exit(Words words, Config& config) {
    std::size_t seconds = 0;
    if (auto problem = take_number(words.front(), 0, kMost, seconds)) return problem;
    config.idle_exit = std::chrono::seconds{seconds};
    return {};
}

Problem set_log_level(Words words, Config& config) {
    const auto level = parse_log_level(words.front());
    if (!level) {
        return fmt::format("'{}' is none of error, warning, info, debug", words.front());
    }
    config.log_level = *level;
    return {};
}

// The keys, in the order of tlsfs.conf(5).
using ConfigKey = KeyEntry<Config>;
constexpr std::array kKeys{
    ConfigKey{"minimum-version", 1, set_minimum_version},
    ConfigKey{"ciphers", 1, set_ciphers},
    ConfigKey{"client-verify", kAnyNumber, set_client_verify},
    ConfigKey{"keys", 1, set_keys},
    ConfigKey{"keys-socket", 1, set_keys_socket},
    ConfigKey{"trust-file", 1, set_trust_file},
    ConfigKey{"trust-directory", 1, set_trust_directory},
    ConfigKey{"crl", 1, set_crl},
    ConfigKey{"dial", 1, set_dial},
    ConfigKey{"max-timeout", 1, set_max_timeout},
    ConfigKey{"max-connections", 1, set_max_connections},
    ConfigKey{"max-per-user", 1, set_max_per_user},
    ConfigKey{"idle-exit", 1, set_idle_exit},
    ConfigKey{"log-level", 1, set_log_level},
};

Problem take_config_line(std::string_view line, unsigned number, Config& config) {
    if (has_control_character(line)) return "a control character in the line";
    const auto words = split_key_line(line);
    if (!words) return words.error().text;
    if (words->empty()) return {};
    const std::string& key = words->front();
    const auto entry = std::ranges::find(kKeys, key, &ConfigKey::name);
    if (entry == kKeys.end()) return fmt::format("unknown key '{}'", key);
    const auto [earlier, first] = config.lines.emplace(key, number);
    if (!first) return fmt::format("{} is set in line {} already", key, earlier->second);
    return apply_key(*entry, *words, config);
}

}  // namespace

tl::expected<Config, ConfigError> parse_config(std::string_view text) {
    Config config;
    unsigned number = 0;
    if (text.size() > kMaxConfig) {
        return tl::unexpected(ConfigError{1, fmt::format("more than {} bytes", kMaxConfig)});
    }
    while (!text.empty()) {
        const std::string_view line = take_line(text);
        if (auto problem = take_config_line(line, ++number, config)) {
            return tl::unexpected(ConfigError{number, printable(std::move(*problem))});
        }
    }
    return config;
}

}  // namespace tlsfs
