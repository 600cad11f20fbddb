// SPDX-License-Identifier: MIT
#include "core/ctl.h"

#include <doctest/doctest.h>

#include <random>

#include "core/bounds.h"

using namespace tlsfs;
using Mode = VerifyPolicy::Mode;

namespace {

const std::string kHash(64, 'a');

template <class T>
T parsed(std::string_view line) {
    const auto result = parse_line(line);
    REQUIRE_MESSAGE(result, line << ": " << (result ? "" : result.error().text));
    REQUIRE(std::holds_alternative<T>(result->command));
    return std::get<T>(result->command);
}

Choices chosen(std::string_view line) {
    return parsed<command::Set>(line).choices;
}

void check_refused(std::string_view line) {
    CAPTURE(line);
    const auto result = parse_line(line);
    REQUIRE_FALSE(result);
    CHECK(result.error().code == EINVAL);
    CHECK_FALSE(result.error().text.empty());
    CHECK(result.error().text.find('\n') == std::string::npos);
}

std::string quote(std::string_view word) {
    std::string quoted = "'";
    for (const char c : word) quoted += c == '\'' ? "''" : std::string(1, c);
    return quoted + "'";
}

}  // namespace

TEST_CASE("ctl: fd") {
    CHECK(parsed<command::Fd>("fd 3").read == 3);
    CHECK(parsed<command::Fd>("fd 3").write == 3);
    CHECK(parsed<command::Fd>("fd 0 1").read == 0);
    CHECK(parsed<command::Fd>("fd 0 1").write == 1);
    CHECK(parsed<command::Fd>("fd 2147483647").read == 2147483647);
    for (const auto* line : {"fd", "fd x", "fd -1", "fd +1", "fd 3 -1", "fd 3 4 5", "fd 2147483648",
                             "fd 3x", "fd ''", "fd 0x3", "fd 3.0", "fd 99999999999999999999"}) {
        check_refused(line);
    }
}

TEST_CASE("ctl: dial") {
    const auto name = parsed<command::Dial>("dial example.com:443");
    CHECK(name.host == "example.com");
    CHECK(name.port == "443");
    CHECK(name.path.empty());
    CHECK(parsed<command::Dial>("dial localhost:https").port == "https");
    CHECK(parsed<command::Dial>("dial [::1]:443").host == "::1");
    CHECK(parsed<command::Dial>("dial /run/a:b").path == "/run/a:b");
    CHECK(parsed<command::Dial>("dial '/run/with blank'").path == "/run/with blank");
    for (const auto* line : {"dial", "dial host", "dial host:", "dial :443", "dial ::1:443",
                             "dial []:443", "dial a:1 b:2", "dial ''", "dial 443"}) {
        check_refused(line);
    }
}

// getaddrinfo(3) takes port 65537 for port 1, and -1 for 65535.
TEST_CASE("ctl: a port out of range") {
    CHECK(parsed<command::Dial>("dial host:65535").port == "65535");
    for (const auto* line : {"dial host:65536", "dial host:0", "dial host:99999999999999999999",
                             "dial host:-1", "dial host:+1", "dial 'host: 1'"}) {
        check_refused(line);
    }
}

TEST_CASE("ctl: version") {
    CHECK(chosen("version 1.2").min_version == TlsVersion::tls12);
    CHECK(chosen("version 1.2").max_version == TlsVersion::tls13);
    CHECK(chosen("version 1.2 1.2").max_version == TlsVersion::tls12);
    CHECK(chosen("version 1.3").min_version == TlsVersion::tls13);
    for (const auto* line : {"version", "version 1.1", "version 1.3 1.2", "version 1.2 1.3 1.3",
                             "version 1.4", "version TLSv1.3", "version 1.2 1.1", "version 1.20"}) {
        check_refused(line);
    }
}

TEST_CASE("ctl: ciphers and groups") {
    CHECK(chosen("ciphers A:B").ciphers == "A:B");
    CHECK(chosen("groups X25519").groups == "X25519");
    for (const auto* line :
         {"ciphers", "ciphers A B", "ciphers ''", "groups", "groups A B", "groups ''"})
        check_refused(line);
}

TEST_CASE("ctl: alpn") {
    CHECK(chosen("alpn h2 http/1.1").alpn == std::vector<std::string>{"h2", "http/1.1"});
    CHECK(chosen("alpn " + std::string(255, 'a')).alpn[0].size() == 255);
    check_refused("alpn");
    check_refused("alpn ''");
    check_refused("alpn " + std::string(256, 'a'));
}

TEST_CASE("ctl: verify") {
    CHECK(chosen("verify system").verify.mode == Mode::system);
    CHECK(chosen("verify ca").verify.mode == Mode::ca);
    CHECK(chosen("verify none").verify.mode == Mode::none);
    const auto pins = chosen("verify pin sha256:" + kHash + " spki:" + std::string(64, 'F')).verify;
    CHECK(pins.mode == Mode::pin);
    REQUIRE(pins.pins.size() == 2);
    CHECK(pins.pins[0].of == Pin::Of::certificate);
    CHECK(pins.pins[0].sha256[31] == 0xaa);
    CHECK(pins.pins[1].of == Pin::Of::public_key);
    CHECK(pins.pins[1].sha256[0] == 0xff);
    for (const auto& line :
         {std::string("verify"), std::string("verify all"), std::string("verify None"),
          std::string("verify none none"), std::string("verify system ca"),
          std::string("verify pin"), "verify pin " + kHash, "verify pin md5:" + kHash,
          "verify pin sha256:" + kHash.substr(1), "verify pin sha256:" + kHash + "a",
          "verify pin sha256:" + std::string(63, 'a') + "g",
          "verify pin sha256:" + std::string(62, 'a') + "-1",
          "verify pin sha256:" + std::string(62, 'a') + " 1",
          "verify pin sha256:" + kHash + " junk"}) {
        check_refused(line);
    }
}

TEST_CASE("ctl: timeout") {
    using std::chrono::milliseconds;
    CHECK(chosen("timeout 30").timeout == milliseconds{30000});
    CHECK(chosen("timeout 0.5").timeout == milliseconds{500});
    CHECK(chosen("timeout 86400").timeout == milliseconds{86'400'000});
    for (const auto* line :
         {"timeout", "timeout 0", "timeout -1", "timeout 0.0001", "timeout 86401", "timeout x",
          "timeout 1e3", "timeout inf", "timeout nan", "timeout 1s", "timeout 1 2", "timeout ''",
          "timeout 0x10", "timeout 99999999999999999999999999999999999"}) {
        check_refused(line);
    }
}

TEST_CASE("ctl: a setting leaves the others as they were") {
    Choices now;
    now.ciphers = "A";
    const auto line = parse_line("idle 2", now);
    REQUIRE(line);
    const Choices next = std::get<command::Set>(line->command).choices;
    CHECK(next.idle == std::chrono::seconds{2});
    CHECK(next.ciphers == "A");
    CHECK(chosen("idle 0").idle == std::chrono::seconds{0});
}

TEST_CASE("ctl: session and engine") {
    CHECK(chosen("session on").session_cache);
    CHECK_FALSE(chosen("session off").session_cache);
    CHECK(chosen("engine auto").engine == EngineChoice::automatic);
    CHECK(chosen("engine user").engine == EngineChoice::user);
    CHECK(chosen("engine kernel").engine == EngineChoice::kernel);
    for (const auto* line : {"session", "session yes", "session on off", "engine", "engine gpu",
                             "engine user kernel"}) {
        check_refused(line);
    }
}

TEST_CASE("ctl: client and server") {
    CHECK_FALSE(parsed<command::Client>("client").name.has_value());
    CHECK(parsed<command::Client>("client example.com").name == "example.com");
    (void)parsed<command::Server>("server");
    check_refused("client ''");
    check_refused("client a b");
    check_refused("client " + std::string(256, 'a'));
    check_refused("server x");
}

TEST_CASE("ctl: the verbs without words, and where they are allowed") {
    (void)parsed<command::KeyUpdate>("keyupdate");
    (void)parsed<command::Close>("close");
    (void)parsed<command::Hangup>("hangup");
    for (const auto* line : {"keyupdate 1", "close 1", "hangup now"}) check_refused(line);

    CHECK(parse_line("fd 3")->allowed.has(State::fresh));
    CHECK_FALSE(parse_line("fd 3")->allowed.has(State::handshaking));
    CHECK_FALSE(parse_line("verify none")->allowed.has(State::established));
    CHECK_FALSE(parse_line("close")->allowed.has(State::fresh));
    CHECK(parse_line("close")->allowed.has(State::remote_closed));
    CHECK_FALSE(parse_line("close")->allowed.has(State::local_closed));
    CHECK(parse_line("hangup")->allowed.has(State::error));
    CHECK(parse_line("client x")->verb == "client");
}

TEST_CASE("ctl: lines that are no lines") {
    check_refused("");
    check_refused("   \t ");
    check_refused("frobnicate");
    check_refused("FD 3");
    check_refused("''");
    check_refused("client 'open");
    check_refused("'");
    check_refused("client a'b");
    check_refused(std::string_view("client a\0b", 10));
    check_refused(std::string_view("\0", 1));
    check_refused("fd\r3");
    CHECK(parse_line("client " + std::string(249, ' ') + "x"));
    const std::string longest = "session on" + std::string(bounds::kCtlLine - 10, ' ');
    CHECK(parse_line(longest));
    check_refused(longest + " ");
}

TEST_CASE("ctl: words") {
    CHECK(split_words("") == std::vector<std::string>{});
    CHECK(split_words("  a\t b ") == std::vector<std::string>{"a", "b"});
    CHECK(split_words("'a b' ''") == std::vector<std::string>{"a b", ""});
    CHECK(split_words("it''s") == std::vector<std::string>{"its"});
    CHECK(split_words("'it''s'") == std::vector<std::string>{"it's"});
    CHECK(split_words("a'b c'd") == std::vector<std::string>{"ab cd"});
    CHECK(split_words("''''") == std::vector<std::string>{"'"});
    CHECK_FALSE(split_words("'a"));
    CHECK_FALSE(split_words("'''"));
}

TEST_CASE("ctl: any words survive quoting") {
    std::mt19937 random(1);
    const std::string alphabet = "ab' \t\"\\\r:\x01\xff";
    for (int round = 0; round < 2000; ++round) {
        std::vector<std::string> words(random() % 5);
        std::string line;
        for (std::string& word : words) {
            for (auto n = random() % 6; n > 0; --n) word += alphabet[random() % alphabet.size()];
            line += (line.empty() ? "" : " ") + quote(word);
        }
        CHECK(split_words(line) == words);
    }
}

TEST_CASE("ctl: lines of a write") {
    std::string_view text = "a\n\nb";
    CHECK(take_line(text) == "a");
    CHECK(take_line(text).empty());
    CHECK(text == "b");
    CHECK(take_line(text) == "b");
    CHECK(text.empty());
    text = "x\n";
    CHECK(take_line(text) == "x");
    CHECK(text.empty());
}

TEST_CASE("ctl: how many lines, names and rules") {
    const auto lines = [](std::size_t count, bool last_newline) {
        std::string text;
        for (std::size_t i = 0; i < count; ++i) text += "idle 0\n";
        if (!last_newline) text.pop_back();
        return check_lines(text);
    };
    for (const bool last_newline : {false, true}) {
        CHECK(lines(bounds::kCtlLines, last_newline));
        const auto many = lines(bounds::kCtlLines + 1, last_newline);
        REQUIRE_FALSE(many);
        CHECK(many.error().code == EINVAL);
    }
    const auto list = [](const std::string& verb, std::size_t names) {
        std::string line = verb + " a";
        for (std::size_t i = 1; i < names; ++i) line += ":a";
        return parse_line(line).has_value();
    };
    for (const std::string verb : {"ciphers", "groups"}) {
        CHECK(list(verb, bounds::kListNames));
        CHECK_FALSE(list(verb, bounds::kListNames + 1));
    }
    const auto rules = [](std::size_t count) {
        std::string line = "allow";
        for (std::size_t i = 0; i < count; ++i) line += " cn:a";
        return parse_line(line).has_value();
    };
    CHECK(rules(bounds::kAllowRules));
    CHECK_FALSE(rules(bounds::kAllowRules + 1));
    CHECK_FALSE(rules(0));
    CHECK_FALSE(parse_line("allow cn:a alice"));
}

TEST_CASE("ctl: identity") {
    using Names = std::vector<std::string>;
    CHECK(chosen("identity git").identities == Names{"git"});
    CHECK(chosen("identity a b.example_1-x").identities == Names{"a", "b.example_1-x"});
    const std::string longest(64, 'n');
    CHECK(chosen("identity " + longest).identities == Names{longest});
    std::string many = "identity";
    for (int i = 0; i < 16; ++i) many += " x";
    CHECK(chosen(many).identities.size() == 16);
    for (const std::string& line :
         {std::string("identity"), many + " x", "identity " + longest + "n",
          std::string("identity ''"), std::string("identity .x"), std::string("identity ../x"),
          std::string("identity a/b"), std::string("identity 'a b'")}) {
        CAPTURE(line);
        CHECK(parse_line(line).error().code == EINVAL);
    }
}
