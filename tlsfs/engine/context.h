// SPDX-License-Identifier: MIT
// SSL_CTXs: one for all connections of the same owner with the same policy, because loading the
// system's trust store once a connection would cost more than the handshake. They are kept for a
// while; a private key is in none of them, and lives no longer than the handshakes it is for.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/policy.h"
#include "core/result.h"
#include "core/settings.h"
#include "engine/identity.h"
#include "engine/openssl_ptr.h"
#include "engine/session_cache.h"

namespace tlsfs {

// What a handshake needs besides its name. Shared and immutable once built.
struct TlsContext {
    SslContextPtr ssl;
    Role role = Role::client;
    VerifyPolicy verify;              // its mode is never `unset`
    std::vector<AllowRule> allow;     // server
    bool resumable = true;            // client: look for a session, keep new ones
    std::string id;                   // names owner and policy; a digest, no secret
    std::vector<unsigned char> alpn;  // in wire format, RFC 7301 section 3.1
    std::chrono::steady_clock::time_point made = std::chrono::steady_clock::now();
};

// What one handshake goes by.
struct Terms {
    std::shared_ptr<const TlsContext> context;
    SharedKey key;  // of the context's certificate, if it has one; wiped when nobody holds it
    std::vector<SharedIdentity> identities;  // in the place of both
    SigningTerms signing;                    // with those

    // A signature may take long: somebody else's thread must not wait for it.
    [[nodiscard]] bool is_slow() const;
};

// EINVAL and a text that names the first element OpenSSL does not know.
[[nodiscard]] Result<> check_ciphers(const std::string& list);
[[nodiscard]] Result<> check_groups(const std::string& list);
// EACCES and its name, if `list` lets in a suite that is not in `allowed`. Both are known.
[[nodiscard]] Result<> check_ciphers_within(const std::string& list, const std::string& allowed);
// The suites that a connection with these settings can use, one a line.
[[nodiscard]] std::string cipher_names(const Settings& settings);
// An error if it cannot be read, or is no such thing: to be known at start, not at the first
// handshake.
[[nodiscard]] Result<> check_trust_file(const std::string& file);
[[nodiscard]] Result<> check_revocation_file(const std::string& file);
[[nodiscard]] Result<> check_trust_directory(const std::string& directory);
// "openssl 3.0.x"
[[nodiscard]] std::string openssl_version();

class ContextCache {
 public:
    // A server's session tickets are good for `life`, and so is the key that they are sealed with.
    explicit ContextCache(TrustStore trust = {}, std::chrono::seconds life = std::chrono::hours{1})
        : life_(life), trust_(std::move(trust)) {}

    // For the handshakes from now on. What was kept of the store before, the same one too, is read
    // anew.
    void set_trust(TrustStore trust);

    // Where tlskeyd is.
    void set_key_socket(std::string path) { identities_.set_socket(std::move(path)); }

    // Asks tlskeyd where `settings` name identities.
    [[nodiscard]] Result<Terms> get(const Settings& settings, Role role, uid_t owner);
    SessionCache& sessions() { return sessions_; }

    // Drops what nobody has used for `life`, and sessions past their time: with a server's context
    // goes the key of its tickets. To be called now and then.
    void expire();

 private:
    using ContextPtr = std::shared_ptr<const TlsContext>;

    // A store, and what its files looked like when somebody asked for it.
    struct Trust {
        TrustStore store;
        std::string stamp;
    };

    struct Kept {
        ContextPtr context;
        std::chrono::steady_clock::time_point used;
    };

    [[nodiscard]] Result<ContextPtr> get_context(const Settings& settings, Role role, uid_t owner);
    [[nodiscard]] Result<SharedKey> get_key(const SecretBytes& pem, const TlsContext& context);

    // Reading certificates takes long: these are called without lock_.
    [[nodiscard]] Result<std::shared_ptr<TlsContext>> build(const Settings& settings, Role role,
                                                            std::string id, const Trust& trust);
    [[nodiscard]] Result<> load_trust(SSL_CTX* ssl, const Settings& settings,
                                      VerifyPolicy::Mode mode, const Trust& trust);
    [[nodiscard]] Result<> use_system_store(SSL_CTX* ssl, const Trust& trust);
    [[nodiscard]] bool is_old(const TlsContext& context) const;

    // These need lock_.
    [[nodiscard]] ContextPtr find(const std::string& id);
    void keep(ContextPtr context);

    [[nodiscard]] Trust trust_now();

    [[nodiscard]] Result<> get_identities(const Settings& settings, Role role, uid_t owner,
                                          Terms& terms);

    SessionCache sessions_;
    Identities identities_;
    const std::chrono::seconds life_;

    std::mutex lock_;  // guards all below
    TrustStore trust_;
    unsigned trust_generation_ = 0;  // set_trust() calls
    std::unordered_map<std::string, std::weak_ptr<const TlsContext>> contexts_;
    std::list<Kept> kept_;  // while unused; the last used first
    std::unordered_map<std::string, std::weak_ptr<EVP_PKEY>> keys_;  // by context, while in use

    std::mutex store_lock_;  // guards all below. One reads the store, and others that want it wait
    StorePtr system_store_;
    std::string system_stamp_;
};

}  // namespace tlsfs
