// SPDX-License-Identifier: MIT
#include "core/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <span>

#include "core/ctl.h"
#include "core/number.h"
#include "core/status.h"

namespace tlsfs {
namespace {

using Words = std::span<const std::string>;
using Problem = std::optional<std::string>;  // what is wrong with a value
using Apply = Problem (*)(Words, Config&);

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

Problem take_path(const std::string& word, std::string& into) {
    // The companion's own working directory is another than the administrator's.
    if (!word.starts_with('/')) return fmt::format("'{}' does not begin with /", word);
    into = word;
    return {};
}

Problem set_minimum_version(Words words, Config& config) {
    const std::string& word = words.front();
    if (word != "1.2" && word != "1.3") {
        return fmt::format("'{}' is neither 1.2 nor 1.3", word);
    }
    config.policy.min_version = word == "1.3" ? TlsVersion::tls13 : TlsVersion::tls12;
    return {};
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

struct KeyEntry {
    std::string_view name;
    std::size_t max_words;
    Apply apply;
};

// The keys, in the order of tlsfs.conf(5).
constexpr std::array kKeys{
    KeyEntry{"minimum-version", 1, set_minimum_version},
    KeyEntry{"ciphers", 1, set_ciphers},
    KeyEntry{"client-verify", kAnyNumber, set_client_verify},
    KeyEntry{"keys", 1, set_keys},
    KeyEntry{"keys-socket", 1, set_keys_socket},
    KeyEntry{"trust-file", 1, set_trust_file},
    KeyEntry{"trust-directory", 1, set_trust_directory},
    KeyEntry{"crl", 1, set_crl},
    KeyEntry{"dial", 1, set_dial},
    KeyEntry{"max-timeout", 1, set_max_timeout},
    KeyEntry{"max-connections", 1, set_max_connections},
    KeyEntry{"max-per-user", 1, set_max_per_user},
    KeyEntry{"idle-exit", 1, set_idle_exit},
    KeyEntry{"log-level", 1, set_log_level},
};

bool is_control(char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && c != '\t') || byte == 0x7f;
}

Problem take_config_line(std::string_view line, unsigned number, Config& config) {
    // A carriage return would become part of the last word.
    if (std::ranges::any_of(line, is_control)) return "a control character in the line";
    const auto words = split_words(without_comment(line));
    if (!words) return words.error().text;
    if (words->empty()) return {};
    const std::string& key = words->front();
    const auto entry = std::ranges::find(kKeys, key, &KeyEntry::name);
    if (entry == kKeys.end()) return fmt::format("unknown key '{}'", key);
    const auto [earlier, first] = config.lines.emplace(key, number);
    if (!first) return fmt::format("{} is set in line {} already", key, earlier->second);
    const auto values = Words(*words).subspan(1);
    if (values.empty()) return fmt::format("{} has no value", key);
    if (values.size() > entry->max_words) return fmt::format("{} takes one value", key);
    auto problem = entry->apply(values, config);
    if (problem) return fmt::format("{}: {}", key, *problem);
    return {};
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
