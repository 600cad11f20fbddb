// SPDX-License-Identifier: MIT
#include "configuration.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>

#include "core/status.h"
#include "core/unique_fd.h"
#include "engine/context.h"
#include "exit_codes.h"

namespace tlsfs {
namespace {

constexpr const char* kUsualFile = "/etc/tlsfs.conf";

using Text = tl::expected<std::string, Refusal>;

tl::unexpected<Refusal> refused(int exit_code, std::string text) {
    return tl::unexpected(Refusal{exit_code, std::move(text)});
}

tl::unexpected<Refusal> system_refusal(const std::string& what) {
    return refused(kExitSystem, what + ": " + std::strerror(errno));
}

// A policy that its users can write is none.
bool others_can_write(const struct stat& info) {
    return S_ISREG(info.st_mode) && (info.st_uid != 0 || (info.st_mode & (S_IWGRP | S_IWOTH)) != 0);
}

Text read_file(const std::string& file, const Overrides& said) {
    // NONBLOCK: a pipe that nobody writes to must not keep us.
    const UniqueFd fd(open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
    if (!fd.valid()) {
        if (errno == ENOENT && said.config_file.empty()) return std::string();
        return system_refusal(file);
    }
    struct stat info{};
    if (fstat(fd.get(), &info) != 0) return system_refusal(file);
    // /dev/null says nothing, which is what it is good for.
    if (!S_ISREG(info.st_mode) && !S_ISCHR(info.st_mode)) {
        return refused(kExitUsage, file + ": not a file");
    }
    if (said.system && others_can_write(info)) {
        return refused(kExitUsage, file + ": others than root can write to it");
    }
    std::string text;
    std::array<char, 4096> part{};
    for (;;) {
        const ssize_t got = read(fd.get(), part.data(), part.size());
        if (got < 0) return system_refusal(file);
        if (got == 0) return text;
        text.append(part.data(), static_cast<std::size_t>(got));
        if (text.size() > kMaxConfig) return text;  // its parser says so
    }
}

// What its grammar could not judge: the key that is wrong, and why.
struct BadValue {
    std::string_view key;
    std::string reason;
};

std::optional<BadValue> judge(const Policy& policy) {
    const auto bad = [](std::string_view key, const Result<>& outcome) -> std::optional<BadValue> {
        if (outcome) return std::nullopt;
        return BadValue{key, outcome.error().text};
    };
    if (!policy.ciphers.empty()) {
        if (auto wrong = bad("ciphers", check_ciphers(policy.ciphers))) return wrong;
        if (cipher_names(first_settings(policy)).empty()) {
            return BadValue{"ciphers", "ciphers: none of them is of an allowed version"};
        }
    }
    const TrustStore& trust = policy.trust;
    if (!trust.file.empty()) {
        if (auto wrong = bad("trust-file", check_trust_file(trust.file))) return wrong;
    }
    if (!trust.crl.empty()) {
        if (auto wrong = bad("crl", check_revocation_file(trust.crl))) return wrong;
    }
    if (!trust.directory.empty())
        return bad("trust-directory", check_trust_directory(trust.directory));
    return std::nullopt;
}

std::size_t join_limit(const Config& config, std::string_view key, std::size_t in_file,
                       std::optional<std::size_t> said) {
    if (!said) return in_file;
    return config.sets(key) ? std::min(in_file, *said) : *said;
}

tl::expected<Configuration, Refusal> join(Config config, const std::string& file,
                                          const Overrides& said) {
    Policy& policy = config.policy;
    for (const std::string_view key : {"trust-file", "trust-directory"}) {
        if (said.ca_file.empty() || !config.sets(key)) continue;
        return refused(kExitUsage, fmt::format("--ca-file: {}:{} says what is trusted", file,
                                               config.lines.find(key)->second));
    }
    if (!said.ca_file.empty()) {
        if (auto good = check_trust_file(said.ca_file); !good) {
            return refused(kExitSystem, good.error().text);
        }
        policy.trust.file = said.ca_file;
    }
    if (!said.key_socket.empty()) policy.key_socket = said.key_socket;
    Limits& limits = policy.limits;
    limits.connections =
        join_limit(config, "max-connections", limits.connections, said.max_connections);
    limits.per_user = join_limit(config, "max-per-user", limits.per_user, said.max_per_user);
    const auto idle_exit =
        said.idle_exit ? std::chrono::seconds{*said.idle_exit} : config.idle_exit;
    return Configuration{std::move(policy), idle_exit, said.log_level.value_or(config.log_level)};
}

}  // namespace

tl::expected<Configuration, Refusal> load_configuration(const Overrides& said) {
    const std::string file = said.config_file.empty() ? kUsualFile : said.config_file;
    const auto text = read_file(file, said);
    if (!text) return tl::unexpected(text.error());
    auto config = parse_config(*text);
    if (!config) {
        const auto& [line, reason] = config.error();
        return refused(kExitUsage, fmt::format("{}:{}: {}", file, line, reason));
    }
    if (const auto wrong = judge(config->policy)) {
        return refused(kExitUsage,
                       fmt::format("{}:{}: {}", file, config->lines.at(std::string(wrong->key)),
                                   printable(wrong->reason)));
    }
    return join(std::move(*config), file, said);
}

}  // namespace tlsfs
