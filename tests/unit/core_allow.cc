// SPDX-License-Identifier: MIT
#include "core/allow.h"

#include <doctest/doctest.h>

using namespace tlsfs;

namespace {

bool lets_in(std::string_view rule, std::string_view name) {
    const auto parsed = parse_allow_rule(rule);
    REQUIRE(parsed);
    return matches(*parsed, name);
}

}  // namespace

TEST_CASE("allow: a rule is a kind and a pattern") {
    for (const std::string_view word : {"", "cn", "cn:", "dns:", "uri:", "email:", "ip:10.0.0.1",
                                        "CN:alice", "*", ":x", " cn:x"}) {
        const auto parsed = parse_allow_rule(word);
        REQUIRE_FALSE(parsed);
        CHECK(parsed.error().code == EINVAL);
    }
    CHECK(*parse_allow_rule("uri:spiffe://a/b") == AllowRule{AllowRule::Kind::uri, "spiffe://a/b"});
}

TEST_CASE("allow: without a star it is the name itself") {
    CHECK(lets_in("cn:alice", "alice"));
    CHECK_FALSE(lets_in("cn:alice", "Alice"));
    CHECK_FALSE(lets_in("cn:alice", "alice2"));
    CHECK_FALSE(lets_in("cn:alice", "malice"));
    CHECK_FALSE(lets_in("cn:alice", ""));
    CHECK_FALSE(lets_in("cn:alice", std::string_view("alice\0", 6)));
    CHECK(lets_in("dns:a.example.com", "A.Example.COM"));
    CHECK_FALSE(lets_in("dns:a.example.com", "a.example.com."));
    CHECK_FALSE(lets_in("dns:a.example.com", "*.example.com"));
    CHECK(lets_in("email:Al@Example.com", "Al@example.COM"));
    CHECK_FALSE(lets_in("email:Al@example.com", "al@example.com"));
    CHECK_FALSE(lets_in("uri:spiffe://a/b", "spiffe://a/B"));
}

TEST_CASE("allow: a star stays within its label or segment") {
    CHECK(lets_in("dns:*.example.com", "a.example.com"));
    CHECK_FALSE(lets_in("dns:*.example.com", "a.b.example.com"));
    CHECK_FALSE(lets_in("dns:*.example.com", ".example.com"));
    CHECK_FALSE(lets_in("dns:*.example.com", "example.com"));
    CHECK(lets_in("dns:web-*.*.com", "web-1.example.com"));
    CHECK_FALSE(lets_in("dns:web-*.*.com", "web-.example.com"));
    CHECK_FALSE(lets_in("dns:web-*.*.com", "web-1.example.org"));
    CHECK(lets_in("cn:*", "alice"));
    CHECK_FALSE(lets_in("cn:*", ""));
    CHECK_FALSE(lets_in("cn:*", "a.b"));
    CHECK(lets_in("email:*@example.com", "first.last@example.com"));
    CHECK_FALSE(lets_in("email:*@example.com", "a@b@example.com"));
    CHECK_FALSE(lets_in("email:*@*.com", "a@b.example.com"));
    CHECK(
        lets_in("uri:spiffe://example.org/ns/*/sa/web", "spiffe://example.org/ns/prod-1.2/sa/web"));
    CHECK_FALSE(
        lets_in("uri:spiffe://example.org/ns/*/sa/web", "spiffe://example.org/ns/a/b/sa/web"));
    CHECK_FALSE(lets_in("uri:spiffe://example.org/ns/*/sa/web", "spiffe://example.org/ns//sa/web"));
    CHECK_FALSE(lets_in("uri:spiffe://example.org/*", "spiffe://example.org/a?b"));
    CHECK_FALSE(lets_in("uri:spiffe://*/x", "spiffe://a.b/x"));
    CHECK_FALSE(lets_in("uri:https://*.example.com/x", "https://evil.com/x.example.com/x"));
    CHECK_FALSE(lets_in("uri:https://*.example.com/x", "https://user@a.example.com/x"));
}

TEST_CASE("allow: several stars in one label, and no time without end") {
    CHECK(lets_in("cn:a*b*c", "a1b2c"));
    CHECK(lets_in("cn:a*b*c", "abbbbcc"));
    CHECK_FALSE(lets_in("cn:a*b*c", "abc"));
    CHECK(lets_in("cn:**", "ab"));
    CHECK_FALSE(lets_in("cn:**", "a"));
    std::string pattern = "cn:";
    for (int i = 0; i < 1000; ++i) pattern += "*a";
    CHECK_FALSE(lets_in(pattern, std::string(4000, 'a') + "b"));
}
