// SPDX-License-Identifier: MIT
#include "core/config.h"

#include <doctest/doctest.h>

using namespace tlsfs;
using Mode = VerifyPolicy::Mode;
using std::chrono::seconds;

namespace {

Config good(std::string_view text) {
    auto config = parse_config(text);
    if (!config) FAIL(config.error().reason);
    return *config;
}

// "LINE: REASON"
std::string refusal(std::string_view text) {
    const auto config = parse_config(text);
    REQUIRE_FALSE(config);
    return std::to_string(config.error().line) + ": " + config.error().reason;
}

}  // namespace

TEST_CASE("config: nothing said forbids nothing") {
    for (const std::string_view text : {"", "\n\n", "# all of it\n", "   \t\n  # a comment"}) {
        const Config config = good(text);
        CHECK(config.policy.min_version == TlsVersion::tls12);
        CHECK(config.policy.ciphers.empty());
        CHECK(config.policy.client_verify.size() == 4);
        CHECK(config.policy.max_timeout == kMaxTimeout);
        CHECK(config.policy.trust == TrustStore{});
        CHECK_FALSE(config.policy.identities_only);
        CHECK(config.policy.key_socket == "/run/tlskeyd/socket");
        CHECK(config.policy.limits.connections == Limits{}.connections);
        CHECK(config.idle_exit == seconds{0});
        CHECK(config.log_level == LogLevel::warning);
        CHECK(config.lines.empty());
    }
}

TEST_CASE("config: every key") {
    const Config config = good(
        "minimum-version 1.3\n"
        "ciphers TLS_AES_256_GCM_SHA384:ECDHE+AESGCM\n"
        "client-verify system ca   # no pins\n"
        "\ttrust-file '/etc/my ca.pem'\n"
        "trust-directory /etc/ssl/certs\n"
        "crl /etc/ssl/revoked.pem\n"
        "dial off\n"
        "max-timeout 20\n"
        "max-connections 100\n"
        "max-per-user 10\n"
        "idle-exit 60\n"
        "log-level debug\n"
        "keys identities-only\n"
        "keys-socket /run/keys/socket");
    CHECK(config.policy.min_version == TlsVersion::tls13);
    CHECK(config.policy.ciphers == "TLS_AES_256_GCM_SHA384:ECDHE+AESGCM");
    CHECK(config.policy.client_verify == std::set{Mode::system, Mode::ca});
    CHECK(config.policy.trust ==
          TrustStore{"/etc/my ca.pem", "/etc/ssl/certs", "/etc/ssl/revoked.pem"});
    CHECK_FALSE(config.policy.dial);
    CHECK(config.policy.max_timeout == seconds{20});
    CHECK(config.policy.limits.connections == 100);
    CHECK(config.policy.limits.per_user == 10);
    CHECK(config.policy.identities_only);
    CHECK(config.policy.key_socket == "/run/keys/socket");
    CHECK(config.idle_exit == seconds{60});
    CHECK(config.log_level == LogLevel::debug);
    CHECK(config.sets("trust-file"));
    CHECK(config.lines.at("trust-file") == 4);
    CHECK(config.lines.size() == 14);
}

TEST_CASE("config: a # within a word or in quotes is no comment") {
    CHECK(good("trust-file /etc/a#b").policy.trust.file == "/etc/a#b");
    CHECK(good("trust-file '/etc/a #b' # c").policy.trust.file == "/etc/a #b");
    CHECK(good("trust-file '/it''s #1'").policy.trust.file == "/it's #1");
}

TEST_CASE("config: what is wrong is named, with its line") {
    CHECK(refusal("\n\nminimum_version 1.3\n") == "3: unknown key 'minimum_version'");
    CHECK(refusal("Ciphers HIGH") == "1: unknown key 'Ciphers'");
    CHECK(refusal("idle-exit 1\n#\nidle-exit 1\n") == "3: idle-exit is set in line 1 already");
    CHECK(refusal("ciphers") == "1: ciphers has no value");
    CHECK(refusal("ciphers # none") == "1: ciphers has no value");
    CHECK(refusal("ciphers ''") == "1: ciphers: the list is empty");
    CHECK(refusal("ciphers A B") == "1: ciphers takes one value");
    CHECK(refusal("minimum-version 1.1") == "1: minimum-version: '1.1' is neither 1.2 nor 1.3");
    CHECK(refusal("client-verify ca all") ==
          "1: client-verify: 'all' is none of system, ca, pin, none");
    CHECK(refusal("trust-file ca.pem") == "1: trust-file: 'ca.pem' does not begin with /");
    CHECK(refusal("trust-directory 'x") == "1: a quote is open at the end of the line");
    CHECK(refusal("log-level loud") ==
          "1: log-level: 'loud' is none of error, warning, info, debug");
    CHECK(refusal("max-timeout 0") == "1: max-timeout: '0' is not a number from 1 to 86400");
    CHECK(refusal("idle-exit 9\r\n") == "1: a control character in the line");
    CHECK(refusal(std::string_view("idle-exit 9\0", 12)) == "1: a control character in the line");
    CHECK(refusal(std::string(kMaxConfig + 1, '\n')) == "1: more than 65536 bytes");
    CHECK(refusal("\xc3 1") == "1: unknown key '?'");
}

TEST_CASE("config: numbers are numbers in range") {
    for (const std::string word :
         {"0", "-1", "1e3", "0x10", "12 ", "99999999999999999999", "one"}) {
        CAPTURE(word);
        CHECK_FALSE(parse_config("max-per-user '" + word + "'"));
        CHECK_FALSE(parse_config("max-connections '" + word + "'"));
    }
    CHECK(good("max-timeout 86400").policy.max_timeout == kMaxTimeout);
    CHECK_FALSE(parse_config("max-timeout 86401"));
    CHECK(good("idle-exit 0").idle_exit == seconds{0});
}

TEST_CASE("config: keys") {
    CHECK_FALSE(good("keys any").policy.identities_only);
    CHECK(refusal("keys none") == "1: keys: 'none' is neither any nor identities-only");
    CHECK(refusal("keys any identities-only") == "1: keys takes one value");
    CHECK(refusal("keys-socket run/x") == "1: keys-socket: 'run/x' does not begin with /");
}
