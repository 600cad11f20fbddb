// SPDX-License-Identifier: MIT
#include "core/signed_content.h"

#include <doctest/doctest.h>

#include <string_view>

#include "support/handshakes.h"

using namespace tlsfs;
using namespace tlsfs::test;
using signed_content::Handshake12;
using signed_content::KeyExchange12;
using signed_content::Tls13;

namespace {

const Bytes kLeaf(300, 5);
const Bytes kPrime(256, 0xfe);
const std::vector<Bytes> kPrimes{kPrime};

Bytes bytes_of(std::string_view text) {
    return {text.begin(), text.end()};
}

Result<Bytes> build(Role role, const SignedContent& content) {
    return put_together(role, content, kLeaf, kPrimes);
}

bool is_refused(Role role, const SignedContent& content) {
    const auto built = build(role, content);
    return !built && built.error().code == EINVAL;
}

Bytes curve_exchange(std::uint16_t group, std::size_t size, std::uint8_t first) {
    Bytes made{3};
    append_number(made, group, 2);
    Bytes point(size, 0x11);
    if (!point.empty()) point.front() = first;
    append_counted(made, point, 1);
    return made;
}

Bytes finite_exchange(const Bytes& prime, const Bytes& generator, const Bytes& value) {
    Bytes made;
    for (const Bytes& part : {prime, generator, value}) append_counted(made, part, 2);
    return made;
}

KeyExchange12 exchange(Bytes parameters) {
    KeyExchange12 made;
    made.client_random.fill(1);
    made.server_random.fill(2);
    made.parameters = std::move(parameters);
    return made;
}

}  // namespace

TEST_CASE("signed content: TLS 1.3 as RFC 8446 says it, for each role") {
    const Bytes hash(32, 0xab);
    const auto built = build(Role::server, Tls13{hash});
    REQUIRE(built);
    Bytes expected(64, 0x20);
    append_bytes(expected, bytes_of("TLS 1.3, server CertificateVerify"));
    expected.push_back(0);
    append_bytes(expected, hash);
    CHECK(*built == expected);
    CHECK(*build(Role::client, Tls13{hash}) != *built);
    CHECK(build(Role::server, Tls13{Bytes(48, 1)}));
    for (const std::size_t size : {0, 20, 31, 33, 47, 49, 64}) {
        CHECK(is_refused(Role::server, Tls13{Bytes(size, 1)}));
    }
}

TEST_CASE("signed content: what is taken apart is put together as it was") {
    const std::vector<std::pair<Role, SignedContent>> all{
        {Role::server, Tls13{Bytes(32, 1)}},
        {Role::client, Tls13{Bytes(48, 2)}},
        {Role::server, exchange(curve_exchange(0x1d, 32, 9))},
        {Role::server, exchange(curve_exchange(0x17, 65, 4))},
        {Role::server, exchange(finite_exchange(kPrime, {2}, Bytes(256, 3)))},
        {Role::client, Handshake12{client_handshake(kLeaf)}},
    };
    for (const auto& [role, content] : all) {
        const auto built = build(role, content);
        REQUIRE(built);
        const auto taken = take_apart(role, *built);
        REQUIRE(taken);
        CHECK(*taken == content);
    }
}

TEST_CASE("signed content: the text of one role is not taken for the other's") {
    const auto built = build(Role::client, Tls13{Bytes(32, 1)});
    const auto taken = take_apart(Role::server, *built);
    REQUIRE(taken);
    // Taken for a key exchange, whose parameters are none.
    CHECK(is_refused(Role::server, *taken));
}

TEST_CASE("signed content: a key exchange names a known group and a point of its size") {
    const auto good = [](std::uint16_t group, std::size_t size, std::uint8_t first) {
        return !is_refused(Role::server, exchange(curve_exchange(group, size, first)));
    };
    CHECK(good(0x17, 65, 4));
    CHECK(good(0x18, 97, 4));
    CHECK(good(0x19, 133, 4));
    CHECK(good(0x1d, 32, 0));
    CHECK(good(0x1e, 56, 0));
    CHECK_FALSE(good(0x17, 64, 4));
    CHECK_FALSE(good(0x17, 65, 2));  // compressed
    CHECK_FALSE(good(0x17, 66, 4));
    CHECK_FALSE(good(0x1d, 33, 0));
    CHECK_FALSE(good(0x1d, 0, 0));
    CHECK_FALSE(good(0x0001, 21, 4));
    Bytes longer = curve_exchange(0x1d, 32, 0);
    longer.push_back(0);
    CHECK(is_refused(Role::server, exchange(longer)));
    CHECK(is_refused(Role::server, exchange({})));
    CHECK(is_refused(Role::server, exchange(bytes_of("any text that somebody wants signed"))));
}

TEST_CASE("signed content: a Diffie-Hellman prime is one of those that are known") {
    const auto good = [](const Bytes& prime, const Bytes& generator, const Bytes& value) {
        return !is_refused(Role::server, exchange(finite_exchange(prime, generator, value)));
    };
    CHECK(good(kPrime, {2}, Bytes(256, 1)));
    CHECK(good(kPrime, {2}, Bytes(255, 1)));
    Bytes other = kPrime;
    other.back() ^= 1;
    CHECK_FALSE(good(other, {2}, Bytes(256, 1)));
    CHECK_FALSE(good({}, {2}, Bytes(256, 1)));
    CHECK_FALSE(good(kPrime, {3}, Bytes(256, 1)));
    CHECK_FALSE(good(kPrime, {0, 2}, Bytes(256, 1)));
    CHECK_FALSE(good(kPrime, {2}, {}));
    CHECK_FALSE(good(kPrime, {2}, Bytes(257, 1)));
}

TEST_CASE("signed content: no role has what the other one signs") {
    CHECK(is_refused(Role::client, exchange(curve_exchange(0x1d, 32, 0))));
    CHECK(is_refused(Role::server, Handshake12{client_handshake(kLeaf)}));
}

TEST_CASE("signed content: a client's messages are a whole handshake with its certificate") {
    const auto good = [](Bytes messages) {
        return !is_refused(Role::client, Handshake12{std::move(messages)});
    };
    const Bytes server_certificates = certificates(Bytes(500, 9));
    const Bytes request = message(13, Bytes(10, 2));
    const Bytes done = message(14, {});
    const Bytes key = message(16, Bytes(66, 3));
    const auto with = [&](const Bytes& middle, const Bytes& own) {
        return join({hello(1), hello(2), server_certificates, middle, request, done, own, key});
    };
    CHECK(good(with({}, certificates(kLeaf))));                        // RSA's way: no key exchange
    CHECK(good(with(message(22, Bytes(9, 1)), certificates(kLeaf))));  // a stapled answer
    CHECK_FALSE(good(with({}, certificates(Bytes(300, 6)))));          // another's certificate
    CHECK_FALSE(good(with({}, message(11, Bytes{0, 0, 0}))));          // none
    CHECK_FALSE(good(with(message(99, Bytes(9, 1)), certificates(kLeaf))));
    CHECK_FALSE(good({}));
    CHECK_FALSE(good(hello(1)));
    CHECK_FALSE(good(Bytes(32, 1)));  // a hash
    CHECK_FALSE(good(bytes_of("any text that somebody wants signed")));

    const Bytes whole = client_handshake(kLeaf);
    CHECK(good(whole));
    for (std::size_t size = 0; size < whole.size(); ++size) {
        CHECK_FALSE(good(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size))));
    }
    CHECK_FALSE(good(join({whole, message(20, Bytes(12, 1))})));
    CHECK_FALSE(good(join({whole, {0}})));
    CHECK_FALSE(good(join({hello(1), whole})));
    Bytes old = whole;
    old[5] = 1;  // TLS 1.0
    CHECK_FALSE(good(old));
}

TEST_CASE("signed content: what is too long or too short is none of the three") {
    CHECK_FALSE(take_apart(Role::server, Bytes(63, 1)));
    CHECK(take_apart(Role::server, Bytes(64, 1)));
    CHECK_FALSE(take_apart(Role::server, Bytes(65 + kMaxKeyExchange, 1)));
    CHECK(take_apart(Role::client, Bytes(kMaxHandshakeMessages, 1)));
    CHECK_FALSE(take_apart(Role::client, Bytes(kMaxHandshakeMessages + 1, 1)));
}
