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

namespace {

// A session id, and no ticket: as embedded clients do it.
std::unique_ptr<Tls> client_without_tickets(ContextCache& cache, const Settings& settings) {
    auto terms = cache.get(settings, Role::client, 1000);
    REQUIRE(terms);
    SSL_CTX_set_options(terms->context->ssl.get(), SSL_OP_NO_TICKET);
    auto tls = Tls::create(*terms, cache.sessions(), "server.test");
    REQUIRE(tls);
    return std::move(*tls);
}

Settings demanding_server(std::initializer_list<const char*> rules) {
    Settings server = world().server_settings();
    server.ca = secret(world().authority.pem());
    server.verify.mode = Mode::ca;
    for (const char* rule : rules) server.allow.push_back(*parse_allow_rule(rule));
    return server;
}

}  // namespace

TEST_CASE("tls: TLS 1.2 clients without tickets resume by session id") {
    ContextCache cache;
    const Settings settings = only(TlsVersion::tls12, world().client_settings());
    const auto connect = [&](const Settings& server) {
        Pair pair{
            client_without_tickets(cache, settings), make_tls(cache, server, Role::server), {}, {}};
        pair.handshake();
        REQUIRE(pair.established());
        exchange(*pair.client, *pair.server, "hello");
        pair.client->close();
        carry(*pair.client, *pair.server);
        read_all(*pair.server);
        pair.server->close();
        return pair.server->agreement().resumed;
    };
    CHECK_FALSE(connect(world().server_settings()));
    CHECK(connect(world().server_settings()));
    CHECK(connect(world().server_settings()));
    Settings other = world().server_settings();
    other.alpn = {"h2"};
    CHECK_FALSE(connect(other));
}

TEST_CASE("tls: how many sessions a server keeps") {
    ContextCache cache;
    const auto server = cache.get(world().server_settings(), Role::server, 1000);
    REQUIRE(server);
    SSL_CTX* ssl = server->context->ssl.get();
    const Settings settings = only(TlsVersion::tls12, world().client_settings());
    for (std::size_t i = 0; i < bounds::kServerSessions + 5; ++i) {
        ContextCache clients;  // none of them resumes
        Pair pair{client_without_tickets(clients, settings),
                  make_tls(cache, world().server_settings(), Role::server),
                  {},
                  {}};
        pair.handshake();
        REQUIRE(pair.established());
        pair.server->close();
    }
    const long kept = SSL_CTX_sess_number(ssl);
    const long most = bounds::kServerSessions;
    CHECK(kept <= most);
    CHECK(kept >= most - 1);  // OpenSSL makes room before it needs it
}

// TLS 1.3 gives out new tickets with each resumption; a client that reconnects again and again
// would never verify its server any more.
TEST_CASE("tls: a resumed session keeps its time of verification") {
    for (const TlsVersion version : {TlsVersion::tls12, TlsVersion::tls13}) {
        ContextCache cache;
        const Settings client = only(version, world().client_settings());
        const std::string key = cache.get(client, Role::client, 1000)->context->id + " server.test";
        const auto connect = [&] {
            Pair pair = handshaken(cache, client, world().server_settings());
            REQUIRE(pair.established());
            read_all(*pair.client);
            pair.client->close();
            return pair.client->agreement().resumed;
        };
        CHECK_FALSE(connect());
        VerifiedSession first = cache.sessions().take(key);
        REQUIRE(first.session);
        CHECK(first.until <= time(nullptr) + 86400);
        CHECK(first.until > time(nullptr) + 80000);

        ContextCache later;
        const std::time_t until = time(nullptr) + 1000;
        cache.sessions().put(key, {std::move(first.session), until});
        CHECK(connect());
        CHECK(cache.sessions().take(key).until == until);
    }
}

TEST_CASE("tls: a session ends with the chain that was verified") {
    const World& w = world();
    Wanted short_lived;
    short_lived.valid_for = 600;
    const Certificate soon_over = make_certificate(short_lived, &w.authority);
    for (const TlsVersion version : {TlsVersion::tls12, TlsVersion::tls13}) {
        ContextCache cache;
        const Settings client = only(version, w.client_settings());
        Pair pair = handshaken(cache, client, server_with(soon_over));
        REQUIRE(pair.established());
        read_all(*pair.client);
        pair.client->close();
        const auto kept = cache.sessions().take(cache.get(client, Role::client, 1000)->context->id +
                                                " server.test");
        REQUIRE(kept.session);
        CHECK(kept.until <= time(nullptr) + 600);

        // A server's, too: what it seals into a ticket says how long it holds.
        Settings alice = server_with(soon_over);
        alice.ca = secret(w.authority.pem());
        pair = handshaken(cache, only(version, alice), demanding_server({}));
        REQUIRE(pair.established());
        read_all(*pair.client);
        pair.client->close();
        const auto theirs = cache.sessions().take(
            cache.get(only(version, alice), Role::client, 1000)->context->id + " server.test");
        REQUIRE(theirs.session);
        CHECK(SSL_SESSION_get_ticket_lifetime_hint(theirs.session.get()) <= 3600);
    }
}

TEST_CASE("tls: a server lets in whom a rule names") {
    const World& w = world();
    Wanted wanted;
    wanted.subject = "alice";
    wanted.dns = {"laptop.example.com"};
    wanted.uris = {"spiffe://example.com/ns/prod/sa/web"};
    wanted.emails = {"alice@example.com"};
    const Certificate alice = make_certificate(wanted, &w.authority);
    for (const TlsVersion version : {TlsVersion::tls12, TlsVersion::tls13}) {
        ContextCache cache;
        Settings client = only(version, server_with(alice));
        client.ca = secret(w.authority.pem());
        const auto outcome = [&](std::initializer_list<const char*> rules) {
            return handshaken(cache, client, demanding_server(rules));
        };
        for (const char* rule : {"cn:alice", "cn:al*", "dns:*.example.com", "email:*@example.com",
                                 "uri:spiffe://example.com/ns/*/sa/web"}) {
            CHECK_MESSAGE(outcome({rule}).established(), rule);
            CHECK_MESSAGE(outcome({"cn:bob", rule}).established(), rule);
            // Resumed under the same rules, and under no others.
            CHECK_MESSAGE(outcome({rule}).established(), rule);
        }
        for (const char* rule :
             {"cn:bob", "cn:laptop.example.com", "dns:alice", "dns:*.com", "dns:alice@example.com",
              "email:*@*", "uri:spiffe://example.com/*"}) {
            const Pair pair = outcome({rule, "cn:carol"});
            CHECK_MESSAGE(pair.server_step.outcome == Outcome::failed, rule);
            CHECK(pair.server_step.error.code == EKEYREJECTED);
            CHECK(pair.server_step.error.text.find("allow") != std::string::npos);
            CHECK(pair.server_step.error.text.find("CN=alice") != std::string::npos);
            const Step told = version == TlsVersion::tls12 ? pair.client_step : pair.client->peek();
            CHECK(told.error.code == EPROTO);
            CHECK(told.error.text.find("bad_certificate") != std::string::npos);
        }
        // A rule stands beside the chain, not in its place.
        const Certificate stranger = make_certificate(wanted, nullptr);
        Settings theirs = only(version, server_with(stranger));
        theirs.ca = secret(w.authority.pem());
        const Pair pair = handshaken(cache, theirs, demanding_server({"cn:alice"}));
        CHECK(pair.server_step.error.code == EKEYREJECTED);
    }
}

TEST_CASE("tls: rules beside pins") {
    Wanted wanted;
    wanted.subject = "alice";
    const Certificate alice = make_certificate(wanted, nullptr);
    ContextCache cache;
    Settings client = server_with(alice);
    client.ca = secret(world().authority.pem());
    Settings server = demanding_server({"cn:alice"});
    server.verify = {Mode::pin, {alice.pin(Pin::Of::public_key)}};
    CHECK(handshaken(cache, client, server).established());
    server.allow = {*parse_allow_rule("cn:bob")};
    CHECK(handshaken(cache, client, server).server_step.error.code == EKEYREJECTED);
}

// All of a chain is looked at, except what it ends in.
TEST_CASE("tls: revocation in the middle of a chain") {
    const World& w = world();
    Wanted wanted;
    wanted.subject = "middle";
    wanted.authority = true;
    const Certificate middle = make_certificate(wanted, &w.authority);
    const Certificate leaf = make_certificate({}, &middle);
    Settings server = server_with(leaf);
    server.cert = secret(leaf.pem() + middle.pem());
    const std::string root = w.authority.pem(), of_middle = make_crl(middle, nullptr);
    const auto client_with = [&](const std::string& ca) {
        Settings client;
        client.ca = secret(ca);
        return client;
    };
    ContextCache cache;
    const auto good = client_with(root + make_crl(w.authority, nullptr) + of_middle);
    CHECK(handshaken(cache, good, server).established());
    CHECK(refusal(client_with(root + make_crl(w.authority, &middle) + of_middle), server).code ==
          EKEYREVOKED);
    CHECK(refusal(client_with(root + make_crl(w.authority, nullptr) + make_crl(middle, &leaf)),
                  server)
              .code == EKEYREVOKED);
    // No list of an issuer in between.
    CHECK(refusal(client_with(root + of_middle), server).code == EKEYREJECTED);
    // Who trusts the intermediate itself need not know its issuer.
    CHECK(handshaken(cache, client_with(middle.pem() + of_middle), server).established());
}

TEST_CASE("tls: HelloRequests in a row have a bound") {
    ContextCache cache;
    const Settings client = only(TlsVersion::tls12, world().client_settings());
    auto own = cache.get(client, Role::client, 1000);
    const auto theirs = cache.get(world().server_settings(), Role::server, 1000);
    REQUIRE(theirs);
    // OpenSSL's own server says it, if it is let.
    SSL_CTX_clear_options(theirs->context->ssl.get(), SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_keylog_callback(theirs->context->ssl.get(), nullptr);
    const SslPtr server(SSL_new(theirs->context->ssl.get()));
    SSL_use_PrivateKey(server.get(), theirs->key.get());
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    SSL_set_bio(server.get(), in, out);
    SSL_set_accept_state(server.get());
    auto tls = make_tls(cache, client, Role::client);
    const auto to_client = [&] {
        std::array<std::byte, 20000> buffer{};
        const int size = BIO_read(out, buffer.data(), buffer.size());
        if (size > 0) tls->input().append(std::span(buffer).first(static_cast<std::size_t>(size)));
    };
    const auto to_server = [&] {
        const auto bytes = tls->output().bytes();
        if (!bytes.empty()) BIO_write(in, bytes.data(), static_cast<int>(bytes.size()));
        tls->output().consume(bytes.size());
    };
    Step step{Outcome::want_input, 0, {}};
    for (int i = 0; i < 10 && step.outcome == Outcome::want_input; ++i) {
        step = tls->handshake();
        to_server();
        SSL_do_handshake(server.get());
        to_client();
    }
    REQUIRE(step.outcome == Outcome::done);
    Step last;
    read_all(*tls, &last);
    const auto ask = [&] {
        SSL_renegotiate(server.get());
        SSL_do_handshake(server.get());
        to_client();
        read_all(*tls, &last);
        tls->output().consume(tls->output().size());  // our refusal would end the server
        return last;
    };
    for (int i = 0; i < bounds::kMessagesInARow; ++i) REQUIRE(ask().outcome == Outcome::want_input);
    const Step end = ask();
    CHECK(end.outcome == Outcome::failed);
    CHECK(end.error.text.find("in a row") != std::string::npos);
}
