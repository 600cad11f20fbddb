// SPDX-License-Identifier: MIT
// The administrator's policy meets the lines of ctl; and what the log hears of connections.
#include <doctest/doctest.h>
#include <fcntl.h>

#include "support/fakes.h"

using namespace tlsfs;
using namespace tlsfs::test;

namespace {

Policy strict() {
    Policy policy;
    policy.min_version = TlsVersion::tls13;
    policy.ciphers = "TLS_AES_256_GCM_SHA384:ECDHE+AESGCM";
    policy.client_verify = {Policy::Mode::system, Policy::Mode::ca};
    policy.max_timeout = std::chrono::seconds{10};
    policy.dial = false;
    return policy;
}

// A device whose log is read here.
struct Logged {
    explicit Logged(LogLevel level, const Policy& policy = {}) : device(1, policy) {
        std::array<int, 2> ends{};
        REQUIRE(pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) == 0);
        out = UniqueFd(ends[0]);
        device.log.use_journal(UniqueFd(ends[1]));
        device.log.set_level(level);
    }
    std::string text() const {
        std::array<char, 65536> all{};
        const ssize_t got = read(out.get(), all.data(), all.size());
        return {all.data(), got > 0 ? static_cast<std::size_t>(got) : 0};
    }
    UniqueFd out;
    Device device;
};

}  // namespace

TEST_CASE("policy: a line that wants more is EACCES, and says so in status") {
    Device device(1, strict());
    const auto c = device.connect();
    CHECK(ctl(*c, "version 1.2\n") == EACCES);
    CHECK(has_line(c->status(), "Error: version 1.2: the administrator's policy forbids it"));
    CHECK(ctl(*c, "ciphers TLS_CHACHA20_POLY1305_SHA256\n") == EACCES);
    CHECK(has_line(
        c->status(),
        "Error: ciphers: the administrator's policy forbids TLS_CHACHA20_POLY1305_SHA256"));
    CHECK(ctl(*c, "ciphers HIGH\n") == EACCES);
    CHECK(ctl(*c, "ciphers nonsense\n") == EINVAL);
    CHECK(ctl(*c, "timeout 11\n") == EACCES);
    CHECK(ctl(*c, "dial localhost:443\n") == EACCES);
    CHECK(has_line(c->status(), "Error: dial: the administrator's policy forbids it"));
    CHECK(ctl(*c, "version 1.3\nciphers TLS_AES_256_GCM_SHA384\ntimeout 9\n") == 0);
    CHECK(has_line(c->status(), "State: New"));
}

TEST_CASE("policy: without a word of the program it holds as well") {
    Device device(2, strict());
    const Connected both = connected(device);
    CHECK(has_line(both.client->status(), "Version: TLSv1.3"));
    CHECK(has_line(both.client->status(), "Cipher: TLS_AES_256_GCM_SHA384"));
}

TEST_CASE("policy: how a client may verify") {
    Device device(2, strict());
    const auto c = device.connect();
    const Ends ends = socket_pair();
    CHECK(ctl(*c, "verify none\nfd 3\n", {{3, ends.a.get()}}) == 0);
    CHECK(ctl(*c, "client server.test\n") == EACCES);
    CHECK(
        has_line(c->status(), "Error: client: verify none: the administrator's policy forbids it"));
    CHECK(has_line(c->status(), "State: New"));
}

TEST_CASE("policy: a connection keeps the one it began with") {
    Device device(1);
    const auto before = device.connect();
    device.registry.set_policy(strict());
    const auto after = device.connect();
    CHECK(ctl(*before, "version 1.2\n") == 0);
    CHECK(ctl(*after, "version 1.2\n") == EACCES);
    Policy few;
    few.limits = {3, 3};
    device.registry.set_policy(few);
    (void)device.connect();
    CHECK(device.registry.create(kUser).error().code == ENFILE);
}

TEST_CASE("log: a failed connection is one line, a good one none") {
    Logged logged(LogLevel::warning);
    (void)connected(logged.device);
    CHECK(logged.text().empty());
    const auto c = logged.device.connect();
    Ends ends = socket_pair();
    const auto answer = start_ctl(*c, "fd 3\nclient server.test\n", {{3, ends.a.get()}});
    ends.a.reset();
    ends.b.reset();
    CHECK(answer->code() == ECONNRESET);
    const std::string text = logged.text();
    CHECK(std::ranges::count(text, '\n') == 1);
    CHECK(text.starts_with("<4>connection 2 of user 1000, server.test: "));
    logged.device.registry.release(c);
    CHECK(logged.text().empty());
}

TEST_CASE("log: what a program gets wrong is no failed connection") {
    Logged logged(LogLevel::warning, strict());
    const auto c = logged.device.connect();
    CHECK(ctl(*c, "nonsense\n") == EINVAL);
    CHECK(ctl(*c, "alpn ''\n") == EINVAL);
    CHECK(ctl(*c, "fd 77\n") == EBADF);
    CHECK(logged.text().empty());
    CHECK(ctl(*c, "version 1.2\n") == EACCES);
    CHECK(logged.text() ==
          "<4>connection 0 of user 1000: version 1.2: the administrator's policy forbids it\n");
}

TEST_CASE("log: debugging names verbs and states, and no word of a line") {
    Logged logged(LogLevel::debug);
    const auto c = logged.device.connect();
    CHECK(ctl(*c, "MIIEvSecretSecret\n") == EINVAL);
    CHECK(ctl(*c, "alpn secret\nsession 'secret") == EINVAL);
    CHECK(ctl(*c, "hangup\n") == 0);
    const std::string text = logged.text();
    CHECK(text.find("ecret") == std::string::npos);
    CHECK(text.find(": a line that is not understood\n") != std::string::npos);
    CHECK(text.find("<7>connection 0 of user 1000: alpn\n") != std::string::npos);
    CHECK(text.find(": New -> Closed\n") != std::string::npos);
}

TEST_CASE("log: a limit that is reached is said") {
    Policy policy;
    policy.limits = {1, 1};
    Logged logged(LogLevel::warning, policy);
    const auto first = logged.device.connect();
    CHECK_FALSE(logged.device.registry.create({1001, 1001}));
    CHECK(logged.text() == "<4>no connection for user 1001: the mount has its 1 connections\n");
}

TEST_CASE("log: the end of the companion is nobody's failure") {
    Logged logged(LogLevel::warning);
    const Connected both = connected(logged.device);
    logged.device.registry.abandon(ECONNABORTED);
    CHECK(logged.text().empty());
}
