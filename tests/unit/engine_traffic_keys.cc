// SPDX-License-Identifier: MIT
// The keys for the kernel's record layer, tried against OpenSSL itself.
#include "engine/traffic_keys.h"

#include <doctest/doctest.h>

#include "support/tls_pair.h"

namespace tlsfs::test {
namespace {

using Outcome = Step::Outcome;

// A server of plain OpenSSL that shows the session tickets it sends as they are before encryption.
class TicketServer {
 public:
    TicketServer() : context_(SSL_CTX_new(TLS_server_method())) {
        SSL_CTX_use_certificate(context_.get(), world().server.certificate.get());
        SSL_CTX_use_PrivateKey(context_.get(), world().server.key.get());
    }

    // The tickets of one whole handshake with `client`, whose records of them are thrown away.
    std::string handshake(Tls& client) {
        tickets_.clear();
        const SslPtr ssl(SSL_new(context_.get()));
        BIO* in = BIO_new(BIO_s_mem());
        BIO* out = BIO_new(BIO_s_mem());
        SSL_set_bio(ssl.get(), in, out);
        SSL_set_accept_state(ssl.get());
        SSL_set_msg_callback(ssl.get(), see);
        SSL_set_msg_callback_arg(ssl.get(), this);
        for (int round = 0; round < 4; ++round) {
            const auto step = client.handshake();
            const auto said = client.output().bytes();
            BIO_write(in, said.data(), static_cast<int>(said.size()));
            client.output().consume(said.size());
            SSL_do_handshake(ssl.get());
            if (step.outcome == Outcome::done) break;
            std::array<char, 20000> answer{};
            const int size = BIO_read(out, answer.data(), answer.size());
            if (size > 0) {
                client.input().append(
                    std::as_bytes(std::span(answer).first(static_cast<std::size_t>(size))));
            }
        }
        CHECK(SSL_is_init_finished(ssl.get()) == 1);
        return tickets_;
    }

 private:
    static void see(int outgoing, int, int type, const void* bytes, std::size_t size, SSL*,
                    void* self) {
        const auto* message = static_cast<const char*>(bytes);
        if (outgoing == 0 || type != SSL3_RT_HANDSHAKE || *message != SSL3_MT_NEWSESSION_TICKET) {
            return;
        }
        static_cast<TicketServer*>(self)->tickets_.append(message, size);
    }

    SslContextPtr context_;
    std::string tickets_;
};

}  // namespace

TEST_CASE("traffic keys: a ticket that the kernel received resumes the next connection") {
    ContextCache cache;
    TicketServer server;
    auto settings = world().client_settings();
    for (const char* suite :
         {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}) {
        CAPTURE(suite);
        settings.ciphers = suite;
        const auto first = make_tls(cache, settings, Role::client);
        first->keep_secrets();
        const std::string tickets = server.handshake(*first);
        REQUIRE(tickets.size() > 100);
        CHECK_FALSE(first->agreement().resumed);
        first->absorb(tickets);
        const auto second = make_tls(cache, settings, Role::client);
        (void)server.handshake(*second);
        CHECK(second->agreement().resumed);
    }
}

TEST_CASE("traffic keys: without secrets nothing is absorbed, and nothing breaks") {
    ContextCache cache;
    TicketServer server;
    const auto first = make_tls(cache, world().client_settings(), Role::client);
    const std::string tickets = server.handshake(*first);
    first->absorb(tickets);
    const auto second = make_tls(cache, world().client_settings(), Role::client);
    (void)server.handshake(*second);
    CHECK_FALSE(second->agreement().resumed);
}

}  // namespace tlsfs::test
