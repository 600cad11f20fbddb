// SPDX-License-Identifier: MIT
#include "engine/session_cache.h"

#include <doctest/doctest.h>

#include <ctime>

using namespace tlsfs;

namespace {

SslSessionPtr make_session(int version, long age = 0) {
    SslSessionPtr session(SSL_SESSION_new());
    SSL_SESSION_set_protocol_version(session.get(), version);
    SSL_SESSION_set_timeout(session.get(), 3600);
#if OPENSSL_VERSION_PREREQ(3, 3)
    SSL_SESSION_set_time_ex(session.get(), time(nullptr) - age);
#else
    SSL_SESSION_set_time(session.get(), static_cast<long>(time(nullptr)) - age);
#endif
    return session;
}

}  // namespace

TEST_CASE("session cache: tickets are for one use, newest first") {
    SessionCache cache;
    CHECK(cache.take("a") == nullptr);
    auto first = make_session(TLS1_3_VERSION), second = make_session(TLS1_3_VERSION);
    SSL_SESSION *const one = first.get(), *const two = second.get();
    cache.put("a", std::move(first));
    cache.put("a", std::move(second));
    CHECK(cache.take("b") == nullptr);
    CHECK(cache.take("a").get() == two);
    CHECK(cache.take("a").get() == one);
    CHECK(cache.take("a") == nullptr);
}

TEST_CASE("session cache: sessions before TLS 1.3 stay") {
    SessionCache cache;
    cache.put("a", make_session(TLS1_2_VERSION));
    const auto first = cache.take("a"), second = cache.take("a");
    CHECK(first != nullptr);
    CHECK(first.get() == second.get());
}

TEST_CASE("session cache: a few a server, and not without end") {
    SessionCache cache;
    for (int i = 0; i < 10; ++i) cache.put("a", make_session(TLS1_3_VERSION));
    int found = 0;
    while (cache.take("a")) ++found;
    CHECK(found == 4);

    cache.put("old", make_session(TLS1_2_VERSION));
    for (int i = 0; i < 511; ++i)
        cache.put("server " + std::to_string(i), make_session(TLS1_3_VERSION));
    CHECK(cache.take("old") != nullptr);
    cache.put("old", make_session(TLS1_2_VERSION));  // used: newest again
    cache.put("one more", make_session(TLS1_3_VERSION));
    CHECK(cache.take("old") != nullptr);
    CHECK(cache.take("server 0") == nullptr);
    CHECK(cache.take("server 1") != nullptr);
}

// The certificate behind a session is not looked at again: an old session must not stand in for it.
TEST_CASE("session cache: a session past its time is not offered") {
    SessionCache cache;
    cache.put("a", make_session(TLS1_2_VERSION, 3601));
    CHECK(cache.take("a") == nullptr);
    cache.put("a", make_session(TLS1_3_VERSION, 3601));
    CHECK(cache.take("a") == nullptr);
}
