// SPDX-License-Identifier: MIT
#include "engine/session_cache.h"

#include <doctest/doctest.h>

#include <ctime>

using namespace tlsfs;

namespace {

VerifiedSession make_session(int version, long age = 0, long verified_for = 86400) {
    SslSessionPtr session(SSL_SESSION_new());
    SSL_SESSION_set_protocol_version(session.get(), version);
    SSL_SESSION_set_timeout(session.get(), 3600);
#if OPENSSL_VERSION_PREREQ(3, 3)
    SSL_SESSION_set_time_ex(session.get(), time(nullptr) - age);
#else
    SSL_SESSION_set_time(session.get(), static_cast<long>(time(nullptr)) - age);
#endif
    return {std::move(session), time(nullptr) + verified_for};
}

}  // namespace

TEST_CASE("session cache: tickets are for one use, newest first") {
    SessionCache cache;
    CHECK(cache.take("a").session == nullptr);
    auto first = make_session(TLS1_3_VERSION), second = make_session(TLS1_3_VERSION);
    SSL_SESSION *const one = first.session.get(), *const two = second.session.get();
    cache.put("a", std::move(first));
    cache.put("a", std::move(second));
    CHECK(cache.take("b").session == nullptr);
    CHECK(cache.take("a").session.get() == two);
    CHECK(cache.take("a").session.get() == one);
    CHECK(cache.take("a").session == nullptr);
}

TEST_CASE("session cache: sessions before TLS 1.3 stay") {
    SessionCache cache;
    cache.put("a", make_session(TLS1_2_VERSION));
    const auto first = cache.take("a"), second = cache.take("a");
    CHECK(first.session != nullptr);
    CHECK(first.session.get() == second.session.get());
}

TEST_CASE("session cache: a few a server, and not without end") {
    SessionCache cache;
    for (int i = 0; i < 10; ++i) cache.put("a", make_session(TLS1_3_VERSION));
    int found = 0;
    while (cache.take("a").session) ++found;
    CHECK(found == 4);

    cache.put("old", make_session(TLS1_2_VERSION));
    for (int i = 0; i < 511; ++i)
        cache.put("server " + std::to_string(i), make_session(TLS1_3_VERSION));
    CHECK(cache.take("old").session != nullptr);
    cache.put("old", make_session(TLS1_2_VERSION));  // used: newest again
    cache.put("one more", make_session(TLS1_3_VERSION));
    CHECK(cache.take("old").session != nullptr);
    CHECK(cache.take("server 0").session == nullptr);
    CHECK(cache.take("server 1").session != nullptr);
}

// The certificate behind a session is not looked at again: an old session must not stand in for it.
TEST_CASE("session cache: a session past its time is not offered") {
    SessionCache cache;
    cache.put("a", make_session(TLS1_2_VERSION, 3601));
    CHECK(cache.take("a").session == nullptr);
    cache.put("a", make_session(TLS1_3_VERSION, 3601));
    CHECK(cache.take("a").session == nullptr);
}

TEST_CASE("session cache: a peer that was verified long ago is verified again") {
    for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
        SessionCache cache;
        cache.put("a", make_session(version, 0, 0));
        CHECK(cache.take("a").session == nullptr);
        cache.put("a", make_session(version, 0, 1000));
        const auto taken = cache.take("a");
        CHECK(taken.session != nullptr);
        CHECK(taken.until > time(nullptr) + 900);
    }
}

TEST_CASE("session cache: what is too old goes, without anybody asking for it") {
    SessionCache cache;
    cache.put("a", make_session(TLS1_3_VERSION, 3601));
    cache.put("b", make_session(TLS1_3_VERSION, 0, 0));
    cache.put("b", make_session(TLS1_3_VERSION));
    CHECK(cache.expire() == 2);
    CHECK(cache.expire() == 0);
    CHECK(cache.take("b").session != nullptr);
}
