// SPDX-License-Identifier: MIT
// Both ends of a TLS connection in one process, without a transport.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>

#include "engine/context.h"
#include "engine/tls.h"
#include "support/certificates.h"
#include "support/descriptors.h"

namespace tlsfs::test {

// An authority, a server's certificate for server.test, and the settings of both ends.
struct World {
    Certificate authority = make_authority();
    Certificate server = make_certificate({}, &authority);

    [[nodiscard]] Settings client_settings() const {
        Settings settings;
        settings.ca = secret(authority.pem());
        return settings;
    }
    [[nodiscard]] Settings server_settings() const { return settings_with(server); }
    [[nodiscard]] static Settings settings_with(const Certificate& own) {
        Settings settings;
        settings.cert = secret(own.pem());
        settings.key = secret(own.key_pem());
        return settings;
    }
};

// Made once: keys cost time.
inline const World& world() {
    static const World made;
    return made;
}

inline std::unique_ptr<Tls> make_tls(ContextCache& cache, const Settings& settings, Role role,
                                     const std::string& name = "server.test", uid_t owner = 1000) {
    auto context = cache.get(settings, role, owner);
    if (!context) throw std::runtime_error(context.error().text);
    auto tls = Tls::create(*context, cache.sessions(), name);
    if (!tls) throw std::runtime_error(tls.error().text);
    return std::move(*tls);
}

inline void carry(Tls& from, Tls& to) {
    to.input().append(from.output().bytes());
    from.output().consume(from.output().size());
}

struct Pair {
    std::unique_ptr<Tls> client, server;
    Step client_step, server_step;  // what the handshake came to

    // Until both have an answer that is no wish for more.
    void handshake() {
        for (int round = 0; round < 20; ++round) {
            if (client_step.outcome != Step::Outcome::failed) client_step = client->handshake();
            carry(*client, *server);
            if (server_step.outcome != Step::Outcome::failed) server_step = server->handshake();
            carry(*server, *client);
            const bool over = client->input().empty() && server->input().empty();
            if (over && client_step.outcome != Step::Outcome::want_input) break;
            if (over && server_step.outcome == Step::Outcome::failed) break;
        }
        // What one end says last, the other hears: an alert.
        const auto hear = [](const Step& said, Tls& by, Step& step) {
            if (said.outcome == Step::Outcome::failed && step.outcome != Step::Outcome::failed) {
                step = by.handshake();
            }
        };
        hear(server_step, *client, client_step);
        hear(client_step, *server, server_step);
    }
    [[nodiscard]] bool established() const {
        return client_step.outcome == Step::Outcome::done &&
               server_step.outcome == Step::Outcome::done;
    }
};

inline Pair handshaken(ContextCache& cache, const Settings& client, const Settings& server,
                       const std::string& name = "server.test") {
    Pair pair{
        make_tls(cache, client, Role::client, name), make_tls(cache, server, Role::server), {}, {}};
    pair.handshake();
    return pair;
}

// What is there to be read now.
inline std::string read_all(Tls& tls, Step* last = nullptr) {
    std::string all;
    std::array<std::byte, 20000> buffer{};
    for (;;) {
        const Step step = tls.read(buffer);
        if (last != nullptr) *last = step;
        if (step.outcome != Step::Outcome::done) return all;
        all += text(std::span(buffer).first(step.count));
    }
}

}  // namespace tlsfs::test
