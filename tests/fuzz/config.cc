// SPDX-License-Identifier: MIT
// The grammar of tlsfs.conf: no bytes break it, errors are one line and name theirs, and what is
// taken is in range.
#include "core/config.h"

#include <algorithm>

#include "require.h"

using namespace tlsfs;

namespace {

void check_error(const ConfigError& error, std::string_view text) {
    const auto lines = static_cast<std::size_t>(std::ranges::count(text, '\n')) + 1;
    REQUIRE(error.line >= 1 && error.line <= lines);
    REQUIRE(!error.reason.empty());
    const auto plain = [](char c) { return c >= 0x20 && c < 0x7f; };
    REQUIRE(std::ranges::all_of(error.reason, plain));
}

void check_config(const Config& config) {
    const Policy& policy = config.policy;
    REQUIRE(!policy.client_verify.empty());
    REQUIRE(!policy.client_verify.contains(VerifyPolicy::Mode::unset));
    REQUIRE(policy.max_timeout.count() > 0 && policy.max_timeout <= kMaxTimeout);
    REQUIRE(policy.limits.connections > 0 && policy.limits.per_user > 0);
    REQUIRE(config.sets("ciphers") == !policy.ciphers.empty());
    REQUIRE(config.sets("trust-file") == policy.trust.file.starts_with('/'));
    REQUIRE(config.sets("trust-directory") == policy.trust.directory.starts_with('/'));
    REQUIRE(config.idle_exit.count() >= 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const auto config = parse_config(text);
    if (config) {
        check_config(*config);
    } else {
        check_error(config.error(), text);
    }
    return 0;
}
