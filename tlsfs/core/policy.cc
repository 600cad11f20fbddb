// SPDX-License-Identifier: MIT
#include "core/policy.h"

#include <fmt/format.h>

#include <algorithm>

namespace tlsfs {
namespace {

using Mode = VerifyPolicy::Mode;

std::string_view mode_word(Mode mode) {
    switch (mode) {
        case Mode::system:
            return "system";
        case Mode::ca:
            return "ca";
        case Mode::pin:
            return "pin";
        case Mode::none:
            return "none";
        case Mode::unset:
            break;
    }
    return "?";
}

tl::unexpected<Error> forbidden(const std::string& what) {
    return failure(EACCES, what + ": the administrator's policy forbids it");
}

}  // namespace

Settings first_settings(const Policy& policy) {
    Settings settings;
    settings.min_version = policy.min_version;
    settings.ciphers = policy.ciphers;
    settings.timeout = std::min(settings.timeout, policy.max_timeout);
    return settings;
}

Result<> permits(const Policy& policy, const Choices& choices) {
    if (choices.min_version < policy.min_version) return forbidden("version 1.2");
    if (choices.timeout > policy.max_timeout) {
        const double seconds = std::chrono::duration<double>(choices.timeout).count();
        return forbidden(fmt::format("timeout {}", seconds));
    }
    return {};
}

Result<> permits(const Policy& policy, const Settings& settings, Role role) {
    if (auto chosen = permits(policy, settings); !chosen) return chosen;
    if (!settings.key.empty()) {
        if (auto own = permits_own_key(policy, "key"); !own) return own;
    }
    if (role == Role::server) return {};  // a server may serve anybody
    const Mode mode = verify_mode(settings, Role::client);
    if (policy.client_verify.contains(mode)) return {};
    return forbidden(fmt::format("client: verify {}", mode_word(mode)));
}

Result<> permits_dial(const Policy& policy) {
    if (policy.dial) return {};
    return forbidden("dial");
}

Result<> permits_own_key(const Policy& policy, std::string_view file) {
    if (!policy.identities_only) return {};
    return forbidden(fmt::format("{}: identities only", file));
}

VerifyPolicy::Mode verify_mode(const Settings& settings, Role role) {
    if (settings.verify.mode != Mode::unset) return settings.verify.mode;
    if (role == Role::server) return Mode::none;
    return settings.ca.empty() ? Mode::system : Mode::ca;
}

}  // namespace tlsfs
