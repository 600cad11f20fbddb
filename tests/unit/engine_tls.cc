// SPDX-License-Identifier: MIT
#include "engine/tls.h"

#include <doctest/doctest.h>

#include "engine/verify.h"
#include "support/tls_pair.h"

using namespace tlsfs;
using namespace tlsfs::test;
using Mode = VerifyPolicy::Mode;
using Outcome = Step::Outcome;

namespace {

Settings only(TlsVersion version, Settings settings) {
    settings.min_version = settings.max_version = version;
    return settings;
}

void exchange(Tls& from, Tls& to, const std::string& data) {
    REQUIRE(from.write(bytes(data)));
    carry(from, to);
    CHECK(read_all(to) == data);
}

// The client's refusal of what this server shows, as its errno.
Error refusal(const Settings& client, const Settings& server,
              const std::string& name = "server.test") {
    ContextCache cache;
    const Pair pair = handshaken(cache, client, server, name);
    CHECK(pair.client_step.outcome == Outcome::failed);
    return pair.client_step.error;
}

Settings server_with(const Certificate& own) {
    return World::settings_with(own);
}

}  // namespace

TEST_CASE("tls: handshake, data and ending, in both versions") {
    for (const TlsVersion version : {TlsVersion::tls12, TlsVersion::tls13}) {
        ContextCache cache;
        Pair pair =
            handshaken(cache, only(version, world().client_settings()), world().server_settings());
        REQUIRE(pair.established());
        const Agreement agreed = pair.client->agreement();
        CHECK(agreed.version == (version == TlsVersion::tls12 ? "TLSv1.2" : "TLSv1.3"));
        CHECK_FALSE(agreed.cipher.empty());
        CHECK_FALSE(agreed.group.empty());
        CHECK(agreed.verification == Verification::ok);
        CHECK_FALSE(agreed.resumed);
        CHECK(agreed.peer == "CN=server");
        CHECK(agreed.peer_sha256 == fingerprint(world().server.certificate.get()));
        CHECK(pair.server->agreement().verification == Verification::none);
        CHECK(pair.server->agreement().server_name == "server.test");
        CHECK(pair.client->peer_chain() == world().server.pem());
        CHECK(pair.server->peer_chain().empty());

        exchange(*pair.client, *pair.server, "hello");
        exchange(*pair.server, *pair.client, std::string(100'000, 'x'));
        CHECK(pair.client->records_in() > 6);

        pair.client->close();
        pair.client->close();
        carry(*pair.client, *pair.server);
        Step last;
        CHECK(read_all(*pair.server, &last).empty());
        CHECK(last.outcome == Outcome::closed);
        exchange(*pair.server, *pair.client, "half-closed");  // the other half is open
        CHECK_FALSE(pair.client->write(bytes("no more")));
    }
}

TEST_CASE("tls: versions that do not meet") {
    ContextCache cache;
    Pair pair = handshaken(cache, only(TlsVersion::tls12, world().client_settings()),
                           only(TlsVersion::tls13, world().server_settings()));
    CHECK(pair.server_step.error.code == EPROTO);
    CHECK(pair.client_step.error.code == EPROTO);
    CHECK(pair.client_step.error.text.find("protocol_version") != std::string::npos);
}

TEST_CASE("tls: resumption, and only for the same owner, policy and name") {
    for (const TlsVersion version : {TlsVersion::tls12, TlsVersion::tls13}) {
        ContextCache cache;
        const Settings server = world().server_settings();
        const Settings client = only(version, world().client_settings());
        const auto resumes = [&](const Settings& settings, uid_t owner = 1000,
                                 const std::string& name = "server.test") {
            Pair pair{make_tls(cache, settings, Role::client, name, owner),
                      make_tls(cache, server, Role::server),
                      {},
                      {}};
            pair.handshake();
            REQUIRE(pair.established());
            read_all(*pair.client);  // the tickets
            CHECK(pair.client->agreement().peer == "CN=server");
            CHECK_FALSE(pair.client->peer_chain().empty());
            pair.client->close();  // OpenSSL resumes nothing that was broken off
            return pair.client->agreement().resumed;
        };
        CHECK_FALSE(resumes(client));
        CHECK(resumes(client));
        CHECK_FALSE(resumes(client, 1001));
        Settings other = client;
        other.verify.mode = Mode::none;
        CHECK_FALSE(resumes(other));
        CHECK(resumes(other));
        CHECK_FALSE(resumes(other, 1000, "elsewhere.test"));
        other = client;
        other.verify = {Mode::pin, {world().server.pin(Pin::Of::public_key)}};
        CHECK_FALSE(resumes(other));
        other = client;
        other.session_cache = false;
        CHECK_FALSE(resumes(other));
        CHECK_FALSE(resumes(other));
        CHECK(resumes(client));
    }
}

TEST_CASE("tls: another server's tickets are no use") {
    ContextCache cache;
    const Settings client = world().client_settings();
    Pair first = handshaken(cache, client, world().server_settings());
    read_all(*first.client);
    Settings other = world().server_settings();
    other.alpn = {"h2"};
    Pair second = handshaken(cache, client, other);
    REQUIRE(second.established());
    CHECK_FALSE(second.client->agreement().resumed);
}

TEST_CASE("tls: key updates from either side in the middle of bulk data both ways") {
    ContextCache cache;
    Pair pair = handshaken(cache, world().client_settings(), world().server_settings());
    REQUIRE(pair.established());
    std::string to_server, to_client, at_server, at_client;
    for (int round = 0; round < 50; ++round) {
        const std::string chunk(static_cast<std::size_t>(1 + round * 997),
                                static_cast<char>('a' + round % 26));
        if (round % 3 == 0) REQUIRE(pair.client->update_keys());
        REQUIRE(pair.client->write(bytes(chunk)));
        to_server += chunk;
        if (round % 5 == 0) REQUIRE(pair.server->update_keys());
        REQUIRE(pair.server->write(bytes(chunk)));
        to_client += chunk;
        carry(*pair.client, *pair.server);
        carry(*pair.server, *pair.client);
        at_server += read_all(*pair.server);
        at_client += read_all(*pair.client);
    }
    CHECK((at_server == to_server));
    CHECK((at_client == to_client));
    CHECK(pair.client->key_updates() >= 2 * 17);
    CHECK(pair.server->key_updates() >= 2 * 17);
}

TEST_CASE("tls: a key update after our close_notify does no harm") {
    ContextCache cache;
    Pair pair = handshaken(cache, world().client_settings(), world().server_settings());
    pair.client->close();
    carry(*pair.client, *pair.server);
    Step last;
    read_all(*pair.server, &last);
    REQUIRE(last.outcome == Outcome::closed);
    REQUIRE(pair.server->update_keys());
    exchange(*pair.server, *pair.client, "after new keys");
}

TEST_CASE("tls: TLS 1.2 has no key update") {
    ContextCache cache;
    Pair pair = handshaken(cache, only(TlsVersion::tls12, world().client_settings()),
                           world().server_settings());
    const auto updated = pair.client->update_keys();
    REQUIRE_FALSE(updated);
    CHECK(updated.error().code == EINVAL);
    exchange(*pair.client, *pair.server, "still there");
}

TEST_CASE("tls: an end without close_notify is ECONNRESET") {
    for (const TlsVersion version : {TlsVersion::tls12, TlsVersion::tls13}) {
        ContextCache cache;
        Pair pair =
            handshaken(cache, only(version, world().client_settings()), world().server_settings());
        REQUIRE(pair.client->write(bytes("all of it?")));
        carry(*pair.client, *pair.server);
        pair.server->end_of_input();
        Step last;
        CHECK(read_all(*pair.server, &last) == "all of it?");
        CHECK(last.outcome == Outcome::failed);
        CHECK(last.error.code == ECONNRESET);
    }
    // In the middle of a record, and in the middle of the handshake.
    ContextCache cache;
    Pair pair = handshaken(cache, world().client_settings(), world().server_settings());
    REQUIRE(pair.client->write(bytes("half a record")));
    pair.server->input().append(pair.client->output().bytes().first(10));
    pair.server->end_of_input();
    Step last;
    CHECK(read_all(*pair.server, &last).empty());
    CHECK(last.error.code == ECONNRESET);

    const auto alone = make_tls(cache, world().client_settings(), Role::client);
    CHECK(alone->handshake().outcome == Outcome::want_input);
    alone->end_of_input();
    CHECK(alone->handshake().error.code == ECONNRESET);
}

TEST_CASE("tls: a forged close_notify is none") {
    ContextCache cache;
    Pair pair = handshaken(cache, world().client_settings(), world().server_settings());
    const std::array<unsigned char, 7> plain{21, 3, 3, 0, 2, 1, 0};
    pair.server->input().append(std::as_bytes(std::span(plain)));
    Step last;
    read_all(*pair.server, &last);
    CHECK(last.outcome == Outcome::failed);
}

TEST_CASE("tls: a corrupted record is EBADMSG, and the peer is told") {
    for (const TlsVersion version : {TlsVersion::tls12, TlsVersion::tls13}) {
        ContextCache cache;
        Pair pair =
            handshaken(cache, only(version, world().client_settings()), world().server_settings());
        read_all(*pair.client);
        REQUIRE(pair.client->write(bytes("to be changed")));
        std::string wire = text(pair.client->output().bytes());
        pair.client->output().consume(wire.size());
        wire.back() = static_cast<char>(wire.back() ^ 1);
        pair.server->input().append(bytes(wire));
        Step last;
        CHECK(read_all(*pair.server, &last).empty());
        CHECK(last.outcome == Outcome::failed);
        CHECK(last.error.code == EBADMSG);
        CHECK_FALSE(pair.server->output().empty());
        carry(*pair.server, *pair.client);
        read_all(*pair.client, &last);
        CHECK(last.error.code == EPROTO);
        CHECK(last.error.text.find("bad_record_mac") != std::string::npos);
    }
}

TEST_CASE("tls: what is no TLS at all") {
    ContextCache cache;
    const auto server = make_tls(cache, world().server_settings(), Role::server);
    server->input().append(bytes("GET / HTTP/1.0\r\n\r\n"));
    const Step step = server->handshake();
    CHECK(step.outcome == Outcome::failed);
    CHECK(step.error.code == EPROTO);
    CHECK(step.error.text.find('\n') == std::string::npos);
    const auto client = make_tls(cache, world().client_settings(), Role::client);
    (void)client->handshake();
    client->input().append(bytes("220 mail.example ESMTP\r\n"));
    CHECK(client->handshake().error.code == EPROTO);
}

TEST_CASE("tls: alerts have names") {
    ContextCache cache;
    Settings client = world().client_settings(), server = world().server_settings();
    client.alpn = {"h2"};
    server.alpn = {"http/1.1"};
    Pair pair = handshaken(cache, client, server);
    CHECK(pair.client_step.error.code == EPROTO);
    CHECK(pair.client_step.error.text.find("no_application_protocol") != std::string::npos);

    client = world().client_settings();
    client.ca = secret(make_authority("other").pem());
    pair = handshaken(cache, client, world().server_settings());
    CHECK(pair.server_step.error.code == EPROTO);
    CHECK(pair.server_step.error.text.find("unknown_ca") != std::string::npos);
}

TEST_CASE("tls: ALPN is the server's choice among the client's") {
    ContextCache cache;
    Settings client = world().client_settings(), server = world().server_settings();
    client.alpn = {"http/1.1", "h2"};
    server.alpn = {"h2", "http/1.1"};
    const Pair pair = handshaken(cache, client, server);
    REQUIRE(pair.established());
    CHECK(pair.client->agreement().alpn == "h2");
    CHECK(pair.server->agreement().alpn == "h2");
}

TEST_CASE("tls: verification fails closed") {
    const World& w = world();
    const Settings client = w.client_settings(), server = w.server_settings();
    CHECK(refusal(client, server, "other.test").code == EKEYREJECTED);
    CHECK(refusal(client, server, "other.test").text.find("other.test") != std::string::npos);
    CHECK(refusal(client, server, "a.server.test").code == EKEYREJECTED);
    CHECK(refusal(client, server, "127.0.0.1").code == EKEYREJECTED);
    Settings stranger = client;
    stranger.ca = secret(make_authority("authority").pem());  // same name, another key
    CHECK(refusal(stranger, server).code == EKEYREJECTED);

    Wanted wanted;
    wanted.valid_for = -60;
    CHECK(refusal(client, server_with(make_certificate(wanted, &w.authority))).code == EKEYEXPIRED);
    wanted = {};
    wanted.valid_from = 3600;
    CHECK(refusal(client, server_with(make_certificate(wanted, &w.authority))).code == EKEYEXPIRED);
    CHECK(refusal(client, server_with(make_certificate({}, nullptr))).code == EKEYREJECTED);
    // A name in the subject is no name.
    wanted = {};
    wanted.subject = "server.test";
    wanted.dns.clear();
    CHECK(refusal(client, server_with(make_certificate(wanted, &w.authority))).code ==
          EKEYREJECTED);
    // A leaf is no authority.
    const Certificate leaf = make_certificate({}, &w.authority);
    Settings chained = server_with(make_certificate({}, &leaf));
    const std::string more = leaf.pem();
    chained.cert.insert(chained.cert.end(), more.begin(), more.end());
    CHECK(refusal(client, chained).code == EKEYREJECTED);
}

TEST_CASE("tls: wildcards are whole labels, one deep") {
    Wanted wanted;
    wanted.dns = {"*.wild.test", "part*.test"};
    const Settings server = server_with(make_certificate(wanted, &world().authority));
    ContextCache cache;
    CHECK(handshaken(cache, world().client_settings(), server, "a.wild.test").established());
    CHECK(handshaken(cache, world().client_settings(), server, "a.wild.test.").established());
    for (const auto* name : {"wild.test", "a.b.wild.test", "partial.test"}) {
        CHECK(refusal(world().client_settings(), server, name).code == EKEYREJECTED);
    }
}

TEST_CASE("tls: IP addresses are looked for as addresses") {
    Wanted wanted;
    wanted.dns = {"10.0.0.1"};  // a name that looks like one
    wanted.ips = {"192.0.2.1", "2001:db8::1"};
    const Settings server = server_with(make_certificate(wanted, &world().authority));
    ContextCache cache;
    CHECK(handshaken(cache, world().client_settings(), server, "192.0.2.1").established());
    CHECK(handshaken(cache, world().client_settings(), server, "2001:db8:0::1").established());
    CHECK(refusal(world().client_settings(), server, "10.0.0.1").code == EKEYREJECTED);
    const Pair pair = handshaken(cache, world().client_settings(), server, "192.0.2.1");
    CHECK(pair.server->agreement().server_name.empty());
}

TEST_CASE("tls: names that a chain cannot be checked against") {
    ContextCache cache;
    const auto context = cache.get(world().client_settings(), Role::client, 0);
    REQUIRE(context);
    for (const auto& name : {std::string(), std::string("."), std::string(".."),
                             std::string(".server.test"), std::string(256, 'a')}) {
        CAPTURE(name);
        const auto tls = Tls::create(*context, cache.sessions(), name);
        REQUIRE_FALSE(tls);
        CHECK(tls.error().code == EINVAL);
    }
}

TEST_CASE("tls: pins stand in for the chain, and for nothing else") {
    ContextCache cache;
    Wanted wanted;
    wanted.valid_for = -60;
    const Certificate old =
        make_certificate(wanted, nullptr);  // expired, self-signed, another name
    Settings client;
    client.verify = {Mode::pin,
                     {world().server.pin(Pin::Of::certificate), old.pin(Pin::Of::certificate)}};
    Pair pair = handshaken(cache, client, server_with(old), "");
    CHECK(pair.established());
    CHECK(pair.client->agreement().verification == Verification::pin);
    client.verify.pins = {old.pin(Pin::Of::public_key)};
    CHECK(handshaken(cache, client, server_with(old), "whatever").established());
    // The right hash of the wrong thing.
    client.verify.pins[0].of = Pin::Of::certificate;
    const Error error = refusal(client, server_with(old));
    CHECK(error.code == EKEYREJECTED);
    CHECK(error.text.find(fingerprint(old.certificate.get())) != std::string::npos);
    client.verify.pins = {world().authority.pin(Pin::Of::certificate)};
    CHECK(refusal(client, world().server_settings()).code ==
          EKEYREJECTED);  // the issuer's is not the leaf's
}

TEST_CASE("tls: nobody is checked only when that was said") {
    ContextCache cache;
    Settings client;
    client.verify.mode = Mode::none;
    const Pair pair = handshaken(cache, client, world().server_settings(), "");
    CHECK(pair.established());
    CHECK(pair.client->agreement().verification == Verification::none);
}

TEST_CASE("tls: revocation lists") {
    const World& w = world();
    const Certificate revoked = make_certificate({}, &w.authority);
    Settings client = w.client_settings();
    client.ca = secret(w.authority.pem() + make_crl(w.authority, &revoked));
    CHECK(refusal(client, server_with(revoked)).code == EKEYREVOKED);
    ContextCache cache;
    CHECK(handshaken(cache, client, w.server_settings()).established());
    // A list of somebody else says nothing about this issuer.
    client.ca = secret(w.authority.pem() + make_crl(make_authority("other"), nullptr));
    CHECK(refusal(client, w.server_settings()).code == EKEYREJECTED);
}

TEST_CASE("tls: client certificates") {
    const World& w = world();
    for (const TlsVersion version : {TlsVersion::tls12, TlsVersion::tls13}) {
        ContextCache cache;
        Settings server = w.server_settings();
        server.ca = secret(w.authority.pem());
        server.verify.mode = Mode::ca;
        Wanted wanted;
        wanted.subject = "alice";
        const Certificate alice = make_certificate(wanted, &w.authority);
        Settings client = server_with(alice);
        client.ca = secret(w.authority.pem());
        Pair pair = handshaken(cache, only(version, client), server);
        REQUIRE(pair.established());
        CHECK(pair.server->agreement().verification == Verification::ok);
        CHECK(pair.server->agreement().peer == "CN=alice");
        CHECK(pair.server->peer_chain().starts_with(alice.pem()));
        exchange(*pair.client, *pair.server, "hello");

        pair = handshaken(cache, only(version, w.client_settings()), server);
        CHECK(pair.server_step.outcome == Outcome::failed);
        CHECK(pair.server_step.error.code == EKEYREJECTED);
        // In TLS 1.3 the client learns of it with its first read.
        const Step told = version == TlsVersion::tls12 ? pair.client_step : pair.client->peek();
        CHECK(told.error.code == EPROTO);

        const Certificate stranger = make_certificate(wanted, nullptr);
        client = server_with(stranger);
        client.ca = secret(w.authority.pem());
        pair = handshaken(cache, only(version, client), server);
        CHECK(pair.server_step.error.code == EKEYREJECTED);

        server.verify = {Mode::pin, {stranger.pin(Pin::Of::public_key)}};
        pair = handshaken(cache, only(version, client), server);
        CHECK(pair.established());
        CHECK(pair.server->agreement().verification == Verification::pin);
    }
}

TEST_CASE("tls: a subject cannot forge text") {
    Wanted wanted;
    wanted.subject = "a\nVerify: ok\x1b[2J";
    const Certificate evil = make_certificate(wanted, nullptr);
    const std::string shown = subject(evil.certificate.get());
    CHECK(shown.find('\n') == std::string::npos);
    CHECK(shown.find('\x1b') == std::string::npos);
}

TEST_CASE("tls: peek does not take") {
    ContextCache cache;
    Pair pair = handshaken(cache, world().client_settings(), world().server_settings());
    read_all(*pair.client);
    CHECK(pair.client->peek().outcome == Outcome::want_input);
    REQUIRE(pair.server->write(bytes("abc")));
    carry(*pair.server, *pair.client);
    CHECK(pair.client->peek().outcome == Outcome::done);
    CHECK(pair.client->peek().outcome == Outcome::done);
    CHECK(read_all(*pair.client) == "abc");
}
