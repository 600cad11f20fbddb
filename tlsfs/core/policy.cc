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

struct Judge {
    const Policy& policy;
    const Settings& settings;

    Result<> operator()(const command::Version& version) const {
        if (version.min >= policy.min_version) return {};
        return forbidden("version 1.2");
    }
    Result<> operator()(const command::Dial&) const {
        if (policy.dial) return {};
        return forbidden("dial");
    }
    Result<> operator()(const command::Timeout& timeout) const {
        if (timeout.limit <= policy.max_timeout) return {};
        const double seconds = std::chrono::duration<double>(timeout.limit).count();
        return forbidden(fmt::format("timeout {}", seconds));
    }
    // Only here it is known who is verified: a server may serve anybody.
    Result<> operator()(const command::Client&) const {
        const Mode mode = verify_mode(settings, Role::client);
        if (policy.client_verify.contains(mode)) return {};
        return forbidden(fmt::format("client: verify {}", mode_word(mode)));
    }
    template <class Other>
    Result<> operator()(const Other&) const {
        return {};
    }
};

}  // namespace

Settings first_settings(const Policy& policy) {
    Settings settings;
    settings.min_version = policy.min_version;
    settings.ciphers = policy.ciphers;
    settings.timeout = std::min(settings.timeout, policy.max_timeout);
    return settings;
}

Result<> permits(const Policy& policy, const Command& command, const Settings& settings) {
    return std::visit(Judge{policy, settings}, command);
}

VerifyPolicy::Mode verify_mode(const Settings& settings, Role role) {
    if (settings.verify.mode != Mode::unset) return settings.verify.mode;
    if (role == Role::server) return Mode::none;
    return settings.ca.empty() ? Mode::system : Mode::ca;
}

}  // namespace tlsfs
