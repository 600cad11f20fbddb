// SPDX-License-Identifier: MIT
#include "engine/context.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <thread>

#include "support/tls_pair.h"

using namespace tlsfs;
using namespace tlsfs::test;

namespace {

// A file that goes with the test.
class File {
 public:
    File() {
        std::string name = "/tmp/engine_context.XXXXXX";
        const UniqueFd fd(mkstemp(name.data()));
        REQUIRE(fd.valid());
        path_ = name;
    }
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    ~File() { std::filesystem::remove(path_); }
    // Another inode, as a careful administrator does it.
    void replace(const std::string& content) const {
        std::ofstream(path_ + ".new") << content;
        std::filesystem::rename(path_ + ".new", path_);
    }
    [[nodiscard]] const std::string& path() const { return path_; }

 private:
    std::string path_;
};

// The names of what the context may negotiate.
std::string suites(const TlsContext& context) {
    const SslPtr ssl(SSL_new(context.ssl.get()));
    STACK_OF(SSL_CIPHER)* list = SSL_get1_supported_ciphers(ssl.get());
    std::string names;
    for (int i = 0; i < sk_SSL_CIPHER_num(list); ++i) {
        names += std::string(SSL_CIPHER_get_name(sk_SSL_CIPHER_value(list, i))) + "\n";
    }
    sk_SSL_CIPHER_free(list);
    return names;
}

// No suite that leaves out the certificate or the encryption.
bool sound(const TlsContext& context) {
    STACK_OF(SSL_CIPHER)* list = SSL_CTX_get_ciphers(context.ssl.get());
    for (int i = 0; i < sk_SSL_CIPHER_num(list); ++i) {
        const SSL_CIPHER* cipher = sk_SSL_CIPHER_value(list, i);
        const int auth = SSL_CIPHER_get_auth_nid(cipher);
        if (auth == NID_auth_null || auth == NID_auth_psk || auth == NID_auth_srp) return false;
        if (SSL_CIPHER_get_cipher_nid(cipher) == NID_undef) return false;
    }
    return SSL_CTX_get_security_level(context.ssl.get()) >= 1;
}

Settings with_ciphers(const std::string& list) {
    Settings settings = world().client_settings();
    settings.ciphers = list;
    return settings;
}

}  // namespace

TEST_CASE("context: the same policy of the same owner is shared, anything else is not") {
    ContextCache cache;
    const Settings base = world().client_settings();
    const auto first = cache.get(base, Role::client, 1000);
    REQUIRE(first);
    CHECK(cache.get(base, Role::client, 1000)->context == first->context);

    const auto differs = [&](const Settings& settings, Role role = Role::client,
                             uid_t owner = 1000) {
        const auto other = cache.get(settings, role, owner);
        REQUIRE(other);
        CHECK(other->context != first->context);
        CHECK(other->context->id != first->context->id);
    };
    differs(base, Role::client, 1001);
    Settings other = base;
    other.max_version = TlsVersion::tls12;
    differs(other);
    other = base;
    other.verify.mode = VerifyPolicy::Mode::none;
    differs(other);
    other.verify = {VerifyPolicy::Mode::pin, {world().server.pin(Pin::Of::certificate)}};
    differs(other);
    other = base;
    other.alpn = {"h2"};
    differs(other);
    other = base;
    other.ciphers = "TLS_AES_128_GCM_SHA256";
    differs(other);
    other = base;
    other.groups = "P-256";
    differs(other);
    other = base;
    other.session_cache = false;
    differs(other);
    other = base;
    other.ca = secret(make_authority().pem());
    differs(other);
    other = base;
    other.cert = secret(world().server.pem());
    other.key = secret(world().server.key_pem());
    differs(other);
}

TEST_CASE("context: fields next to each other are not taken for one another") {
    ContextCache cache;
    Settings one = world().client_settings(), two = one;
    one.alpn = {"ab", "c"};
    two.alpn = {"a", "bc"};
    CHECK(cache.get(one, Role::client, 1)->context->id !=
          cache.get(two, Role::client, 1)->context->id);
}

TEST_CASE("context: kept while unused, but the private key goes with its last user") {
    ContextCache cache;
    std::weak_ptr<const TlsContext> context;
    std::weak_ptr<EVP_PKEY> key;
    {
        const auto one = cache.get(world().server_settings(), Role::server, 1000);
        const auto other = cache.get(world().server_settings(), Role::server, 1000);
        REQUIRE(one);
        REQUIRE(other);
        REQUIRE(one->key);
        CHECK(one->key == other->key);
        context = one->context;
        key = one->key;
    }
    CHECK_FALSE(context.expired());
    CHECK(key.expired());
    CHECK(SSL_CTX_get0_privatekey(context.lock()->ssl.get()) == nullptr);
    const auto again = cache.get(world().server_settings(), Role::server, 1000);
    REQUIRE(again);
    CHECK(again->context == context.lock());
    CHECK(again->key);
}

TEST_CASE("context: a server's, with the key of its tickets, does not grow old") {
    ContextCache cache({}, std::chrono::seconds{0});
    const auto server = cache.get(world().server_settings(), Role::server, 1000);
    const auto client = cache.get(world().client_settings(), Role::client, 1000);
    REQUIRE(server);
    REQUIRE(client);
    CHECK(cache.get(world().server_settings(), Role::server, 1000)->context != server->context);
    CHECK(cache.get(world().client_settings(), Role::client, 1000)->context == client->context);
}

TEST_CASE("context: those that were used last are kept") {
    ContextCache cache;
    const auto settings = [](int number) {
        Settings made = world().client_settings();
        made.alpn = {std::to_string(number)};
        return made;
    };
    const auto get = [&](int number) {
        const auto terms = cache.get(settings(number), Role::client, 1);
        REQUIRE(terms);
        return std::weak_ptr(terms->context);
    };
    const auto used = get(0), unused = get(1);
    for (int number = 2; number < 200; ++number) {
        get(number);
        get(0);
    }
    CHECK_FALSE(used.expired());
    CHECK(unused.expired());
}

TEST_CASE("context: a key and a certificate belong together") {
    ContextCache cache;
    const auto refuse = [&](const Settings& settings, Role role, std::string_view word) {
        const auto context = cache.get(settings, role, 0);
        REQUIRE_FALSE(context);
        CHECK(context.error().code == EINVAL);
        CHECK_MESSAGE(context.error().text.find(word) != std::string::npos, context.error().text);
    };
    Settings settings = world().server_settings();
    settings.key = secret(world().authority.key_pem());
    refuse(settings, Role::server, "fit");
    settings.key.clear();
    refuse(settings, Role::server, "no key");
    settings = world().server_settings();
    settings.cert.clear();
    refuse(settings, Role::server, "no cert");
    refuse(Settings{}, Role::server, "no cert");
    settings = {};
    settings.verify.mode = VerifyPolicy::Mode::ca;
    refuse(settings, Role::client, "no ca");
    settings.ca = secret("garbage");
    refuse(settings, Role::client, "ca");
}

TEST_CASE("context: the default verification") {
    ContextCache cache;
    using Mode = VerifyPolicy::Mode;
    CHECK(cache.get(world().client_settings(), Role::client, 0)->context->verify.mode == Mode::ca);
    CHECK(cache.get(Settings{}, Role::client, 0)->context->verify.mode == Mode::system);
    const auto server = cache.get(world().server_settings(), Role::server, 0)->context;
    CHECK(server->verify.mode == Mode::none);
    CHECK((SSL_CTX_get_verify_mode(server->ssl.get()) & SSL_VERIFY_PEER) == 0);
    Settings demanding = world().server_settings();
    demanding.ca = secret(world().authority.pem());
    demanding.verify.mode = Mode::ca;
    const auto strict = cache.get(demanding, Role::server, 0)->context;
    CHECK(SSL_CTX_get_verify_mode(strict->ssl.get()) ==
          (SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT));
}

TEST_CASE("context: the machine's trust is read anew when its file changes") {
    const File file;
    const Certificate other = make_authority("other");
    file.replace(other.pem());
    ContextCache cache(TrustStore{file.path(), {}, {}});
    CHECK(check_trust_file(file.path()));
    const Settings client;  // verify system
    const auto first = cache.get(client, Role::client, 1000);
    REQUIRE(first);
    CHECK(cache.get(client, Role::client, 1000)->context == first->context);

    Pair pair = handshaken(cache, client, world().server_settings());
    CHECK(pair.client_step.error.code == EKEYREJECTED);
    file.replace(other.pem() + world().authority.pem());
    CHECK(cache.get(client, Role::client, 1000)->context != first->context);
    pair = handshaken(cache, client, world().server_settings());
    CHECK(pair.established());
    // Trust that was taken away is gone, sessions and all.
    file.replace(other.pem());
    pair = handshaken(cache, client, world().server_settings());
    CHECK(pair.client_step.error.code == EKEYREJECTED);

    std::filesystem::remove(file.path());
    CHECK_FALSE(cache.get(client, Role::client, 1000));
    CHECK_FALSE(check_trust_file(file.path()));
    file.replace("garbage");
    CHECK_FALSE(cache.get(client, Role::client, 1000));
    CHECK_FALSE(check_trust_file(file.path()));
}

TEST_CASE("context: ciphers that OpenSSL knows") {
    for (const std::string list :
         {"ECDHE-RSA-AES128-GCM-SHA256", "TLS_AES_128_GCM_SHA256", "HIGH:!aNULL", "ECDHE+AESGCM",
          "TLS_AES_256_GCM_SHA384:ECDHE-ECDSA-AES256-GCM-SHA384", "ALL:-SHA:+AES256"}) {
        CAPTURE(list);
        CHECK(check_ciphers(list));
    }
}

TEST_CASE("context: ciphers that it does not, and other tricks") {
    for (const std::string list : {"",
                                   "FOO",
                                   "TLS_FOO",
                                   "HIGH:FOO",
                                   ":HIGH",
                                   "HIGH:",
                                   "HIGH::ALL",
                                   "HIGH,ALL",
                                   "HIGH ALL",
                                   "HIGH;ALL",
                                   "@SECLEVEL=0",
                                   "ALL@SECLEVEL=0",
                                   "ALL:@SECLEVEL=0",
                                   "HIGH:@STRENGTH",
                                   "!",
                                   "-",
                                   "+",
                                   "TLS_AES_128_GCM_SHA256@SECLEVEL=0",
                                   "TLS_AES_128_GCM_SHA256,ALL",
                                   "HIGH=1",
                                   "%HIGH"}) {
        CAPTURE(list);
        const auto checked = check_ciphers(list);
        REQUIRE_FALSE(checked);
        CHECK(checked.error().code == EINVAL);
    }
}

TEST_CASE("context: no list lets anonymous, unencrypted or unauthenticated suites in") {
    ContextCache cache;
    for (const std::string list : {"ALL",
                                   "aNULL",
                                   "ADH",
                                   "AECDH",
                                   "eNULL",
                                   "NULL",
                                   "COMPLEMENTOFALL",
                                   "ALL:eNULL:aNULL",
                                   "PSK",
                                   "SRP",
                                   "aPSK",
                                   "ALL:+aNULL",
                                   "ALL:+eNULL",
                                   "ECDHE+aNULL",
                                   "DEFAULT",
                                   "COMPLEMENTOFDEFAULT",
                                   "kPSK:ALL",
                                   "NULL-SHA256",
                                   "AECDH-NULL-SHA",
                                   "!AES:ALL"}) {
        CAPTURE(list);
        if (!check_ciphers(list)) continue;
        const auto context = cache.get(with_ciphers(list), Role::client, 0);
        if (context) CHECK(sound(*context->context));
        CHECK_FALSE((!context && context.error().code != EINVAL));
    }
}

TEST_CASE("context: a list of one version's suites rules the other out") {
    ContextCache cache;
    const auto min_and_max = [&](const std::string& list) {
        const auto context = cache.get(with_ciphers(list), Role::client, 0);
        REQUIRE(context);
        return std::pair(SSL_CTX_get_min_proto_version(context->context->ssl.get()),
                         SSL_CTX_get_max_proto_version(context->context->ssl.get()));
    };
    CHECK(min_and_max("TLS_AES_128_GCM_SHA256") ==
          std::pair<long, long>(TLS1_3_VERSION, TLS1_3_VERSION));
    CHECK(min_and_max("ECDHE+AESGCM") == std::pair<long, long>(TLS1_2_VERSION, TLS1_2_VERSION));
    Settings impossible = with_ciphers("TLS_AES_128_GCM_SHA256");
    impossible.max_version = TlsVersion::tls12;
    CHECK_FALSE(cache.get(impossible, Role::client, 0));
    const auto one = cache.get(with_ciphers("TLS_AES_128_GCM_SHA256"), Role::client, 0);
    CHECK(suites(*one->context) == "TLS_AES_128_GCM_SHA256\n");
}

TEST_CASE("context: the default is AEAD with forward secrecy") {
    const std::string names = cipher_names({});
    CHECK(names.find("TLS_AES_256_GCM_SHA384\n") != std::string::npos);
    CHECK(names.find("ECDHE-ECDSA-AES128-GCM-SHA256\n") != std::string::npos);
    CHECK(names.find("CBC") == std::string::npos);
    CHECK(names.find("-SHA\n") == std::string::npos);
    CHECK(names.find("\nAES") == std::string::npos);  // key transport by RSA
    CHECK(openssl_version().starts_with("openssl 3."));
}

TEST_CASE("context: what is within a list of ciphers") {
    const std::string allowed = "TLS_AES_256_GCM_SHA384:ECDHE+AESGCM";
    for (const std::string list :
         {"TLS_AES_256_GCM_SHA384", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE+AESGCM",
          "ECDHE-RSA-AES256-GCM-SHA384:TLS_AES_256_GCM_SHA384"}) {
        CAPTURE(list);
        CHECK(check_ciphers_within(list, allowed));
    }
    for (const std::string list :
         {"TLS_AES_128_GCM_SHA256", "ECDHE+CHACHA20", "ECDHE+AES", "ALL", "AES128-GCM-SHA256",
          "ECDHE-RSA-AES256-GCM-SHA384:TLS_AES_128_GCM_SHA256"}) {
        CAPTURE(list);
        const auto checked = check_ciphers_within(list, allowed);
        REQUIRE_FALSE(checked);
        CHECK(checked.error().code == EACCES);
    }
    // A list for one version allows nothing of the other.
    CHECK_FALSE(check_ciphers_within("ECDHE+AESGCM", "TLS_AES_128_GCM_SHA256"));
    CHECK_FALSE(check_ciphers_within("TLS_AES_128_GCM_SHA256", "ECDHE+AESGCM"));
}

TEST_CASE("context: the trust store can be another from now on") {
    const File ours, others;
    ours.replace(world().authority.pem());
    others.replace(make_authority("other").pem());
    ContextCache cache(TrustStore{others.path(), {}, {}});
    const Settings client;
    CHECK(handshaken(cache, client, world().server_settings()).client_step.error.code ==
          EKEYREJECTED);
    cache.set_trust(TrustStore{ours.path(), {}, {}});
    CHECK(handshaken(cache, client, world().server_settings()).established());
    cache.set_trust(TrustStore{others.path(), {}, {}});
    CHECK(handshaken(cache, client, world().server_settings()).client_step.error.code ==
          EKEYREJECTED);
}

TEST_CASE("context: a trust store that is none is found out") {
    CHECK(check_trust_file("/nowhere/ca.pem").error().text ==
          "/nowhere/ca.pem: No such file or directory");
    CHECK_FALSE(check_trust_directory("/nowhere"));
    CHECK_FALSE(check_trust_directory("/proc/self/fd"));  // nothing in it has a hash's name
}

TEST_CASE("context: groups") {
    for (const std::string list : {"X25519", "P-256:X25519", "secp521r1"})
        CHECK(check_groups(list));
    for (const std::string list :
         {"", "FOO", "X25519:FOO", ":", "X25519:", "X25519 P-256", "X25519,P-256"}) {
        CAPTURE(list);
        const auto checked = check_groups(list);
        REQUIRE_FALSE(checked);
        CHECK(checked.error().code == EINVAL);
    }
}

// Whoever wants a store waits for it, and nobody else.
TEST_CASE("context: a trust store that takes long does not keep other handshakes") {
    const File file;
    std::filesystem::remove(file.path());
    REQUIRE(mkfifo(file.path().c_str(), 0600) == 0);
    ContextCache cache(TrustStore{file.path(), {}, {}});
    bool read = false;
    std::thread slow([&] { read = cache.get(Settings{}, Role::client, 1000).has_value(); });
    UniqueFd feed;
    while (!feed.valid()) {  // until it is being read
        feed.reset(open(file.path().c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
    }
    auto other = std::async(std::launch::async, [&] {
        return cache.get(world().client_settings(), Role::client, 1000).has_value();
    });
    const bool came = other.wait_for(std::chrono::seconds{30}) == std::future_status::ready;
    const std::string pem = world().authority.pem();
    CHECK(write(feed.get(), pem.data(), pem.size()) == static_cast<ssize_t>(pem.size()));
    feed.reset();
    slow.join();
    CHECK(came);
    CHECK(read);
    CHECK(other.get());
}

TEST_CASE("context: what is old goes by itself") {
    std::weak_ptr<const TlsContext> server, client;
    const auto use = [&](ContextCache& cache) {
        client = cache.get(world().client_settings(), Role::client, 1000)->context;
        server = cache.get(world().server_settings(), Role::server, 1000)->context;
    };
    ContextCache lasting;
    use(lasting);
    lasting.expire();
    CHECK_FALSE(server.expired());
    CHECK_FALSE(client.expired());
    ContextCache passing({}, std::chrono::seconds{0});
    use(passing);
    CHECK_FALSE(server.expired());
    passing.expire();
    CHECK(server.expired());
    CHECK(client.expired());
}

TEST_CASE("context: allow wants somebody who is verified, and a server") {
    ContextCache cache;
    const auto refusal = [&](const Settings& settings, Role role) {
        const auto got = cache.get(settings, role, 1000);
        return got ? std::string() : got.error().text;
    };
    Settings settings = world().server_settings();
    settings.allow = {*parse_allow_rule("cn:alice")};
    CHECK(refusal(settings, Role::server).find("allow") != std::string::npos);
    CHECK(refusal(settings, Role::client).find("allow") != std::string::npos);
    settings.ca = secret(world().authority.pem());
    CHECK(refusal(settings, Role::server).find("allow") != std::string::npos);
    settings.verify.mode = VerifyPolicy::Mode::ca;
    CHECK(refusal(settings, Role::server).empty());
    Settings others = settings;
    others.allow = {*parse_allow_rule("cn:bob")};
    CHECK(cache.get(settings, Role::server, 1000)->context !=
          cache.get(others, Role::server, 1000)->context);
}

// Anybody can have a certificate of a public authority.
TEST_CASE("context: a server that verifies by the machine's store has to name its clients") {
    Settings settings = world().server_settings();
    settings.verify.mode = VerifyPolicy::Mode::system;
    ContextCache cache;
    const auto refused = cache.get(settings, Role::server, 1000);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == EINVAL);
    settings.allow = {*parse_allow_rule("cn:alice")};
    CHECK(cache.get(settings, Role::server, 1000));
    settings.allow.clear();
    const File file;
    file.replace(world().authority.pem());
    ContextCache own(TrustStore{file.path(), {}, {}});  // the administrator's choice
    CHECK(own.get(settings, Role::server, 1000));
}

TEST_CASE("context: the administrator's revocation lists") {
    const World& w = world();
    const Certificate revoked = make_certificate({}, &w.authority);
    const File roots, lists;
    roots.replace(w.authority.pem());
    lists.replace(make_crl(w.authority, nullptr));
    CHECK(check_revocation_file(lists.path()));
    CHECK_FALSE(check_revocation_file(roots.path()));
    CHECK_FALSE(check_revocation_file("/nowhere"));
    ContextCache cache(TrustStore{roots.path(), {}, lists.path()});
    const auto code = [&] {
        const Pair pair = handshaken(cache, Settings{}, World::settings_with(revoked));
        return pair.established() ? 0 : pair.client_step.error.code;
    };
    CHECK(code() == 0);
    lists.replace(make_crl(w.authority, &revoked));  // read anew, as the certificates are
    CHECK(code() == EKEYREVOKED);
    lists.replace(make_crl(make_authority("other"), nullptr));
    CHECK(code() == EKEYREJECTED);
    // What a program trusts by itself is its own business.
    CHECK(handshaken(cache, w.client_settings(), World::settings_with(revoked)).established());
}
