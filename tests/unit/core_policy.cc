// SPDX-License-Identifier: MIT
#include "core/policy.h"

#include <doctest/doctest.h>

#include "core/ctl.h"

using namespace tlsfs;
using Mode = VerifyPolicy::Mode;

namespace {

Result<> ask(const Policy& policy, const Settings& settings, const Command& command) {
    if (const auto* set = std::get_if<command::Set>(&command)) return permits(policy, set->choices);
    if (std::holds_alternative<command::Dial>(command)) return permits_dial(policy);
    const bool client = std::holds_alternative<command::Client>(command);
    return permits(policy, settings, client ? Role::client : Role::server);
}

// 0, or the errno of the last line, with the others before it.
int judge(const Policy& policy, std::string_view lines) {
    Settings settings = first_settings(policy);
    int code = 0;
    while (!lines.empty()) {
        const auto line = parse_line(take_line(lines), settings);
        REQUIRE(line);
        const auto* set = std::get_if<command::Set>(&line->command);
        const auto outcome = ask(policy, settings, line->command);
        code = outcome ? 0 : outcome.error().code;
        if (set != nullptr && outcome) static_cast<Choices&>(settings) = set->choices;
    }
    return code;
}

const std::string kPin = "verify pin sha256:" + std::string(64, '0');

}  // namespace

TEST_CASE("policy: without one everything is allowed") {
    const Policy none;
    for (const std::string line : {"version 1.2", "timeout 86400", "client x", "verify none"}) {
        CHECK(judge(none, line) == 0);
    }
    CHECK(judge(none, "verify none\nclient x") == 0);
    CHECK(first_settings(none).timeout == Settings{}.timeout);
}

TEST_CASE("policy: keys of one's own can be forbidden") {
    Policy policy;
    CHECK(permits_own_key(policy, "key"));
    policy.identities_only = true;
    const auto judged = permits_own_key(policy, "key");
    REQUIRE_FALSE(judged);
    CHECK(judged.error().code == EACCES);
    CHECK(judged.error().text == "key: identities only: the administrator's policy forbids it");
}

TEST_CASE("policy: the version can be raised, not lowered") {
    Policy policy;
    policy.min_version = TlsVersion::tls13;
    CHECK(first_settings(policy).min_version == TlsVersion::tls13);
    CHECK(judge(policy, "version 1.3") == 0);
    CHECK(judge(policy, "version 1.2 1.3") == EACCES);
    CHECK(judge(policy, "version 1.2 1.2") == EACCES);
    const Policy low;
    CHECK(judge(low, "version 1.3") == 0);
}

TEST_CASE("policy: a timeout has a bound, the default too") {
    Policy policy;
    policy.max_timeout = std::chrono::seconds{10};
    CHECK(first_settings(policy).timeout == std::chrono::seconds{10});
    CHECK(judge(policy, "timeout 10") == 0);
    CHECK(judge(policy, "timeout 10.001") == EACCES);
}

TEST_CASE("policy: dialling can be forbidden") {
    Policy policy;
    CHECK(judge(policy, "dial localhost:443") == 0);
    policy.dial = false;
    CHECK(judge(policy, "dial localhost:443") == EACCES);
    CHECK(judge(policy, "dial /run/socket") == EACCES);
}

TEST_CASE("policy: how a client verifies is judged when it is one") {
    Policy policy;
    policy.client_verify = {Mode::system};
    CHECK(judge(policy, "client x") == 0);
    CHECK(judge(policy, "verify system\nclient x") == 0);
    CHECK(judge(policy, "verify none\nclient x") == EACCES);
    CHECK(judge(policy, kPin + "\nclient x") == EACCES);
    CHECK(judge(policy, "verify ca\nclient x") == EACCES);
    CHECK(judge(policy, "verify none\nserver") == 0);
    CHECK(judge(policy, kPin + "\nserver") == 0);
    policy.client_verify = {Mode::ca, Mode::pin};
    CHECK(judge(policy, "client x") == EACCES);
    CHECK(judge(policy, "verify ca\nclient x") == 0);
    CHECK(judge(policy, kPin + "\nclient x") == 0);
}

TEST_CASE("policy: a ca that was written counts without a word") {
    Policy policy;
    policy.client_verify = {Mode::system};
    Settings settings;
    settings.ca.resize(1);
    CHECK(verify_mode(settings, Role::client) == Mode::ca);
    CHECK(verify_mode(settings, Role::server) == Mode::none);
    const auto outcome = permits(policy, settings, Role::client);
    REQUIRE_FALSE(outcome);
    CHECK(outcome.error().text == "client: verify ca: the administrator's policy forbids it");
}
