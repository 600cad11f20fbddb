// SPDX-License-Identifier: MIT
#include <doctest/doctest.h>

#include "plan.h"

using namespace tlsfs;
using internal::plan_client;
using internal::plan_server;
using internal::timeout_line;

namespace {

ServerOptions server_options() {
    ServerOptions options;
    options.cert_file = "cert.pem";
    options.key_file = "key.pem";
    return options;
}

}  // namespace

TEST_CASE("defaults are left to the companion") {
    const auto plan = plan_client({}, {});
    REQUIRE(plan);
    CHECK(plan->policy.empty());
    CHECK(plan->files.empty());
    CHECK(plan->start == "client\n");
}

TEST_CASE("every client option is one line") {
    ClientOptions options;
    options.name = "example.com";
    options.pins = {"sha256:aa", "spki:bb"};
    options.session_cache = false;
    options.policy.min_version = Version::tls13;
    options.policy.ciphers = "A:B";
    options.policy.groups = "X25519";
    options.policy.alpn = {"h2", "my proto"};
    options.policy.timeout = std::chrono::milliseconds(1500);
    options.policy.engine = Engine::user;
    const auto plan = plan_client(options, {});
    REQUIRE(plan);
    CHECK(plan->policy ==
          "version 1.3 1.3\nciphers A:B\ngroups X25519\nalpn h2 'my proto'\ntimeout 1.500\n"
          "engine user\nverify pin sha256:aa spki:bb\nsession off\n");
    CHECK(plan->start == "client example.com\n");
}

TEST_CASE("a client verifies nothing only when told so") {
    ClientOptions options;
    options.accept_any_certificate = true;
    CHECK(plan_client(options, {})->policy == "verify none\n");
}

TEST_CASE("ways to trust exclude each other") {
    ClientOptions options;
    options.ca_file = "ca.pem";
    REQUIRE(plan_client(options, {}));
    options.pins = {"sha256:aa"};
    CHECK(plan_client(options, {}).error().code == EINVAL);
    options.pins.clear();
    options.accept_any_certificate = true;
    CHECK(plan_client(options, {}).error().code == EINVAL);
}

TEST_CASE("a certificate comes with its key, in this order") {
    ClientOptions options;
    options.cert_file = "cert.pem";
    CHECK(plan_client(options, {}).error().code == EINVAL);
    options.key_file = "key.pem";
    const auto plan = plan_client(options, {});
    REQUIRE(plan);
    REQUIRE(plan->files.size() == 2);
    CHECK(std::string(plan->files[0].verb) == "cert");
    CHECK(std::string(plan->files[1].verb) == "key");
}

TEST_CASE("the name is the dialled host if no other was given") {
    ClientOptions options;
    CHECK(plan_client(options, Transport::dial("example.com:443"))->start ==
          "client example.com\n");
    CHECK(plan_client(options, Transport::dial("[2001:db8::1]:443"))->start ==
          "client 2001:db8::1\n");
    CHECK(plan_client(options, Transport::dial("/run/socket"))->start == "client\n");
    CHECK(plan_client(options, Transport::stream(0))->start == "client\n");
    CHECK(plan_client(options, Transport::dial("example.com")).error().code == EINVAL);
    options.name = "other.example";
    CHECK(plan_client(options, Transport::dial("example.com:443"))->start ==
          "client other.example\n");
}

TEST_CASE("what dialling took is taken off the time, and some is always left") {
    using std::chrono::milliseconds;
    CHECK(timeout_line(milliseconds{29'987}) == "timeout 29.987\n");
    CHECK(timeout_line(milliseconds{-5}) == "timeout 0.001\n");
}

TEST_CASE("no option can smuggle in a line") {
    ClientOptions options;
    options.name = "example.com\nverify none";
    CHECK(plan_client(options, {}).error().code == EINVAL);
    options.name.clear();
    options.policy.ciphers = "A\nverify none";
    CHECK(plan_client(options, {}).error().code == EINVAL);
    const auto dialled = Transport::dial("example.com\nverify none:443");
    CHECK(plan_client({}, dialled).error().code == EINVAL);
}

TEST_CASE("a server needs a certificate, and demands one where it was given issuers or pins") {
    CHECK(plan_server({}).error().code == EINVAL);
    auto options = server_options();
    CHECK(plan_server(options)->policy.empty());
    CHECK(plan_server(options)->start == "server\n");
    options.client_ca_file = "ca.pem";
    CHECK(plan_server(options)->policy == "verify ca\n");
    CHECK(plan_server(options)->files.size() == 3);
    options.client_pins = {"spki:bb"};
    CHECK(plan_server(options).error().code == EINVAL);
    options.client_ca_file.clear();
    CHECK(plan_server(options)->policy == "verify pin spki:bb\n");
}

TEST_CASE("rules for clients come behind what verifies them, and never without") {
    auto options = server_options();
    options.allow = {"cn:alice", "cn:Bob B"};
    CHECK(plan_server(options).error().code == EINVAL);
    options.client_ca_file = "ca.pem";
    CHECK(plan_server(options)->policy == "verify ca\nallow cn:alice 'cn:Bob B'\n");
    options.allow = {"cn:x\nverify none"};
    CHECK(plan_server(options).error().code == EINVAL);
}

TEST_CASE("an identity takes the place of a certificate and its key") {
    ClientOptions client;
    client.identities = {"git", "other"};
    REQUIRE(plan_client(client, {}));
    CHECK(plan_client(client, {})->policy == "identity git other\n");
    CHECK(plan_client(client, {})->files.empty());
    ServerOptions server;
    CHECK(plan_server(server).error().code == EINVAL);
    server.identities = {"git"};
    REQUIRE(plan_server(server));
    CHECK(plan_server(server)->policy == "identity git\n");
    CHECK(plan_server(server)->files.empty());
    server.cert_file = "cert.pem";
    CHECK(plan_server(server).error().code == EINVAL);
    client.key_file = "key.pem";
    CHECK(plan_client(client, {}).error().code == EINVAL);
    client = {};
    client.identities = {"two\nlines"};
    CHECK(plan_client(client, {}).error().code == EINVAL);
}
